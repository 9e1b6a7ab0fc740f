//! The commands of the command line.

use std::{io, net::SocketAddr, time::Duration};

use super::{
    App, Server, connections_budget::ConnectionsBudget, core_routes, disk::FreeDisk, output::print_line,
    signal::shutdown_signal,
};
use crate::{
    RunError, ShutdownToken,
    config::{self, PublicUrl},
    db::UnprotectedTable,
    module::{Banner, RouteInfo},
};

/// Serves until SIGTERM or SIGINT.
pub(super) async fn serve(app: App) -> crate::Result<()> {
    migrate_or_fail(&app).await?;
    app.start().await?;
    let address = SocketAddr::new(app.http.host, app.http.port);
    let server = Server::bind(address, app.server_settings()).await.map_err(|error| cannot_listen(address, &error))?;
    let address = server.local_addr()?;
    // An error, such as a full disk, must not keep the app from serving.
    _ = print_line(format_args!("{}", startup_text(&app, address)));

    let shutdown = ShutdownToken::new();
    tokio::spawn(shut_down_on_signal(shutdown.clone()));
    app.serve(server, shutdown).await;
    _ = tokio::time::timeout(Duration::from_secs(5), app.db.close()).await;
    tracing::info!(target: "omnistack", "stopped");
    Ok(())
}

/// Runs background work until SIGTERM or SIGINT, without HTTP but for the health routes.
pub(super) async fn worker(app: App) -> crate::Result<()> {
    migrate_or_fail(&app).await?;
    app.start().await?;
    let server = match app.http.worker_health_address {
        None => None,
        Some(address) => Some(Server::bind(address, app.server_settings()).await.map_err(|error| {
            RunError::new(format!("can't listen on {address}: {error}; set WORKER_HEALTH_ADDRESS to another address"))
        })?),
    };
    // In development, the process that starts first creates the first operator. One of the lines has the password.
    _ = print_line(format_args!("{} runs background work\n{}", name(&app), module_lines(&app)));
    let shutdown = ShutdownToken::new();
    tokio::spawn(shut_down_on_signal(shutdown.clone()));
    let answering = async {
        if let Some(server) = server {
            server.run(core_routes::health_only(app.health.clone()), shutdown.clone()).await;
        }
    };
    tokio::join!(app.run_workers(shutdown.clone()), answering);
    _ = tokio::time::timeout(Duration::from_secs(5), app.db.close()).await;
    tracing::info!(target: "omnistack", "stopped");
    Ok(())
}

/// Begins a graceful shutdown at the first signal, and exits at the second.
async fn shut_down_on_signal(shutdown: ShutdownToken) {
    shutdown_signal().await;
    tracing::info!(target: "omnistack", "shutdown requested; waiting for open requests");
    shutdown.cancel();
    shutdown_signal().await;
    std::process::exit(130);
}

/// Runs pending migrations, or in production fails and names them.
async fn migrate_or_fail(app: &App) -> crate::Result<()> {
    if !app.environment().is_production() {
        app.migrate().await?;
        return Ok(());
    }
    let missing: Vec<_> = app.migration_states().await?.into_iter().filter(|state| !state.applied).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|state| format!("{}/{}", state.module, state.name)).collect();
    let message = format!("{} migrations are pending ({}): run `migrate` first", names.len(), names.join(", "));
    Err(RunError::new(message))
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> RunError {
    let port = address.port();
    RunError::new(match error.kind() {
        io::ErrorKind::AddrInUse => format!("port {port} is in use: set PORT to another port, or to 0 for a free one"),
        io::ErrorKind::PermissionDenied => {
            format!("no permission to listen on port {port}: set PORT to a port above 1023")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{} is not an address of this machine: set HOST to one that is", address.ip())
        }
        _ => format!("can't listen on {address}: {error}"),
    })
}

fn startup_text(app: &App, address: SocketAddr) -> String {
    let mut banner = Banner::default();
    let shown =
        if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() };
    let base = format!("http://{shown}");
    let is_served = |path: &str| path.is_empty() || app.routes.iter().any(|route| route.path == path);
    let lines = [("serves", ""), ("docs", "/docs"), ("description", "/openapi.json"), ("health", "/health/ready")];
    for (label, path) in lines.into_iter().filter(|(_, path)| is_served(path)) {
        let url = format!("{base}{path}");
        banner.line(label, move || url.clone());
    }
    if let Ok(public) = app.ctx.get::<PublicUrl>() {
        banner.line("public URL", move || public.to_string());
    }
    banner.render(&name(app)) + &module_lines(app)
}

/// Returns the name, the version and the environment of the app.
fn name(app: &App) -> String {
    format!("{} {} ({})", app.title, app.version, app.environment())
}

/// Returns the lines of the modules that `serve` and `worker` print at startup.
fn module_lines(app: &App) -> String {
    app.banner.render("embedded").replacen("\n  embedded\n", "", 1)
}

/// Prints the OpenAPI document, or a part of it, such as `app.v1`.
pub(super) fn openapi(app: &App, part: Option<&str>) -> crate::Result<()> {
    let text = match part {
        Some(part) => app.openapi_part(part)?,
        None => app.openapi().to_vec(),
    };
    let text = String::from_utf8_lossy(&text);
    #[cfg(feature = "cli")]
    let text = super::indent::indented(&text);
    print_line(format_args!("{text}"))?;
    Ok(())
}

/// Lists routes.
pub(super) fn routes(app: &App) -> crate::Result<()> {
    let width = app.routes().iter().map(|route| route.path.len()).max().unwrap_or(0);
    let permissions = |route: &RouteInfo| match route.permissions.as_slice() {
        [] => "-".to_owned(),
        required => required.join(" "),
    };
    let second = app.routes().iter().map(|route| permissions(route).len()).max().unwrap_or(0).max("PERMISSION".len());
    print_line(format_args!("{:<7} {:<width$}  {:<8} {:<second$} MODULE", "METHOD", "PATH", "AUDIENCE", "PERMISSION"))?;
    for route in app.routes() {
        let RouteInfo { method, path, audience, module, .. } = route;
        let required = permissions(route);
        print_line(format_args!("{method:<7} {path:<width$}  {audience:<8} {required:<second$} {module}"))?;
    }
    Ok(())
}

/// Lists settings, or prints the settings reference.
pub(super) fn config(app: &App, reference: bool) -> crate::Result<()> {
    let sections = app.config.sections();
    if reference {
        return print_line(format_args!("{}", config::reference(&sections)));
    }
    for (title, settings) in sections {
        print_line(format_args!("# {}", title.trim()))?;
        for setting in settings {
            let found = app.config.get(setting.name);
            let value = match (found, setting.default.or(setting.development)) {
                _ if setting.secret && found.is_some() => "(hidden)".into(),
                (Some((text, _)), _) => text.to_owned(),
                (None, Some(default)) => default.to_owned(),
                (None, _) => "-".into(),
            };
            let origin = found.map_or_else(|| "default".into(), |(_, origin)| origin.to_string());
            print_line(format_args!("{:<28} {value:<32} {origin}", setting.name))?;
        }
        print_line(format_args!(""))?;
    }
    Ok(())
}

/// Checks settings, database, Redis and disk. Fails if something must be fixed.
pub(super) async fn doctor(app: &App) -> crate::Result<()> {
    print_line(format_args!(
        "ok       settings    {} sections read, environment {}",
        app.config.sections().len(),
        app.environment()
    ))?;
    let mut wrong = 0;
    let mut say = |good: bool, what: &str, text: String| {
        wrong += usize::from(!good);
        print_line(format_args!("{}  {what:<11} {text}", if good { "ok     " } else { "FAILING" }))
    };
    match app.prepare_database().await {
        Err(error) => say(
            false,
            "database",
            format!(
                "{}: {error}\n                     fix: start the database, or correct DATABASE_URL",
                app.db_settings.display_url()
            ),
        )?,
        Ok(()) => {
            let latency = app.db.ping().await.unwrap_or_default();
            say(true, "database", format!("{} in {latency:?}", app.db.version().await.unwrap_or_default()))?;
            match app.migration_states().await {
                Err(error) => say(false, "migrations", error.to_string())?,
                Ok(states) => {
                    let missing = states.iter().filter(|state| !state.applied).count();
                    let text = format!("{} applied, {missing} missing", states.len() - missing);
                    let fix = if missing == 0 { "" } else { "\n                     fix: run `migrate`" };
                    say(missing == 0 || !app.environment().is_production(), "migrations", text + fix)?;
                }
            }
            if let Ok(Some(budget)) = ConnectionsBudget::read(&app.db, &app.db_settings, &app.config).await {
                say(budget.fits(), "connections", budget.text())?;
            }
            say(true, "tenants", tenants(app).await)?;
            if let Some(warning) = row_security(app).await {
                say(true, "isolation", warning)?;
            }
            match app.unprotected_tables().await {
                Err(error) => say(false, "isolation", error.to_string())?,
                Ok(tables) if tables.is_empty() => {}
                Ok(tables) => say(false, "isolation", unprotected_text(&tables))?,
            }
        }
    }
    if let Some(folder) = app.db_settings.sqlite_folder() {
        match writable(&folder) {
            Ok(()) => {
                let free = FreeDisk::of(&folder).ok().flatten();
                let alarm = free.and_then(|free| free.alarm(app.db_settings.min_free_disk));
                let fix = alarm.as_ref().map_or_else(String::new, |alarm| {
                    format!("; {alarm}\n                     fix: make room, or lower DATABASE_MIN_FREE_DISK")
                });
                say(alarm.is_none(), "disk", format!("{} can be written{fix}", folder.display()))?;
            }
            Err(error) => say(
                false,
                "disk",
                format!(
                    "{}: {error}\n                     fix: make it writable, or set DATABASE_URL to another directory",
                    folder.display()
                ),
            )?,
        }
    }
    #[cfg(feature = "redis")]
    if let Ok(redis) = app.ctx.get::<crate::redis::Redis>() {
        match redis.ping().await {
            Ok(latency) => say(true, "redis", format!("responds in {latency:?}"))?,
            Err(error) => say(
                false,
                "redis",
                format!("{error}\n                     fix: start Redis, or unset REDIS_URL to run without it"),
            )?,
        }
    }
    for (label, text) in &app.doctor_lines {
        say(true, label, text.clone())?;
    }
    let report = app.health.report().await;
    for check in report.checks.iter().filter(|check| check.name != "database" && check.name != "redis") {
        say(check.status != crate::health::HealthStatus::Failing, "check", check.name.clone())?;
    }
    if wrong > 0 {
        return Err(RunError::new(format!("{wrong} problem{} to fix", if wrong == 1 { "" } else { "s" })));
    }
    Ok(())
}

/// Describes how tenants are isolated.
async fn tenants(app: &App) -> String {
    let Some(databases) = app.db.tenant_databases() else {
        return "share the app's database (isolation mode `shared`)".into();
    };
    let url = databases.display_url();
    match databases.all().await {
        Ok(all) => format!("{} databases, one for each (isolation mode `database per tenant`), at {url}", all.len()),
        Err(error) => format!("one database per tenant, at {url}: {error}"),
    }
}

/// Returns a warning if the database role bypasses row-level security, as superusers and roles with BYPASSRLS do.
async fn row_security(app: &App) -> Option<String> {
    if app.db.dialect() != crate::db::Dialect::Postgres {
        return None;
    }
    let query = app.db.query("select rolsuper or rolbypassrls from pg_roles where rolname = current_user");
    let (bypasses,): (bool,) = query.fetch_one().await.ok()?;
    bypasses.then(|| {
        "the role of DATABASE_URL bypasses row-level security: in production use a role without SUPERUSER and BYPASSRLS".into()
    })
}

/// Returns what `doctor` prints about tables that row-level security does not protect.
fn unprotected_text(tables: &[UnprotectedTable]) -> String {
    const INDENT: &str = "\n                     ";
    let names: Vec<_> = tables.iter().map(|table| table.name.as_str()).collect();
    let fixes: Vec<_> = tables.iter().map(|table| format!("{INDENT}  {}", table.fix)).collect();
    format!(
        "tables with a `tenant_id`, but no enabled and forced row-level security: {}{INDENT}fix: add to a migration for \
         PostgreSQL:{}{INDENT}or declare those that need none: `registry.unprotected_tables([…])`",
        names.join(", "),
        fixes.concat()
    )
}

fn writable(folder: &std::path::Path) -> io::Result<()> {
    let probe = folder.join(".omnistack-doctor");
    std::fs::write(&probe, b"ok")?;
    std::fs::remove_file(probe)
}
