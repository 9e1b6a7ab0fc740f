//! Notifications: stored for a user, told to connected clients, and mailed, as the user prefers.
//!
//! Modules notify users through the port [`Notifier`], in their own transaction. Notifications and preferences are in
//! the app's own database, also if tenants have databases.

mod deliver;
mod digest;
mod export;
mod mail;
mod mail_texts;
mod model;
mod preferences;
mod read;
mod retention;
mod routes;
mod settings;
mod store;

use std::time::Duration;

use omnistack_core::{
    db::Db,
    email::Mailer,
    identity::Authenticator,
    jobs::Cron,
    migrations,
    module::{Mount, Registry},
    notification::{NotificationKinds, Notifier},
};

use deliver::{NotificationService, StoreNotification};
use digest::{FindNotificationDigests, SendNotificationDigest};
use mail::{NotificationMailer, SendNotificationMail};
use retention::{DeleteUserNotifications, NotificationRetention, PurgeNotifications};
use settings::NotificationSettings;
use store::NotificationStore;

/// Name of the subscriber that deletes the notifications of deleted users, which is stored with each delivery.
const DELETE_OF_USER: &str = "realtime.delete_user_notifications";

/// Registers the notifier, the tables, the jobs, and the routes of users, if the app authenticates callers.
pub(crate) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<NotificationSettings>() else { return };
    let NotificationSettings { digest_after, keep } = settings;
    let (clock, app, public_url) = (registry.clock(), registry.app_name().to_owned(), registry.public_url());
    registry
        .migrations(migrations!["0001_notifications"])
        .tenant_tables(["omni_notifications"])
        .provide_from(move |ctx| {
            let store = NotificationStore { db: ctx.get::<Db>()?.app_database(), clock: clock.clone() };
            Ok(NotificationService {
                store,
                jobs: ctx.get()?,
                realtime: ctx.get()?,
                kinds: ctx.get()?,
                digest_after: Some(digest_after).filter(|after| *after > Duration::ZERO),
            })
        })
        .provide_from(|ctx| Ok(Notifier::new(ctx.get::<NotificationService>()?)))
        .provide_from(move |ctx| {
            Ok(NotificationMailer {
                store: ctx.get::<NotificationService>()?.store,
                kinds: ctx.get()?,
                contacts: ctx.get()?,
                outbox: ctx.get()?,
                app: app.clone(),
                public_url: public_url.clone(),
            })
        })
        .subscribe(DELETE_OF_USER, |ctx| Ok(DeleteUserNotifications(ctx.get::<NotificationService>()?.store)))
        .job::<StoreNotification>(|ctx| ctx.get())
        .job::<SendNotificationMail>(|ctx| ctx.get())
        .job::<FindNotificationDigests>(|ctx| ctx.get())
        .job::<SendNotificationDigest>(|ctx| ctx.get())
        .job::<PurgeNotifications>(move |ctx| {
            Ok(NotificationRetention { store: ctx.get::<NotificationService>()?.store, keep })
        })
        .cron(Cron::new("*/5 * * * *", FindNotificationDigests {}))
        .cron(Cron::new("43 3 * * *", PurgeNotifications {}))
        .after_modules(|registry| {
            if registry.provides::<Authenticator>() {
                let mount = Mount::app("/notifications").in_person();
                registry.routes(mount, routes::api(), |ctx| ctx.get::<NotificationService>());
            }
            // An app without kinds sends no mails about notifications.
            if registry.provided::<NotificationKinds>().is_some_and(|kinds| !kinds.all().is_empty()) {
                registry.require::<Mailer>().require_public_url("links in mails about notifications");
            }
        });
    export::register(registry);
}
