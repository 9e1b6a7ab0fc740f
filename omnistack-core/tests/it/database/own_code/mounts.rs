//! Tests of resources that are mounted twice.

use omnistack_core::{
    app::{App, DevIdentity},
    crud,
    module::{Module, Mount, Registry},
};
use omnistack_testkit::TestDatabase;
use utoipa_axum::routes;

use super::{Seat, seats};

#[tokio::test]
async fn mounting_an_operation_or_a_resource_twice_is_a_problem_with_a_fix() {
    struct Twice(fn(&mut Registry));

    impl Module for Twice {
        fn name(&self) -> &'static str {
            "twice"
        }

        fn register(&self, registry: &mut Registry) {
            (self.0)(registry);
        }
    }

    fn mount_operation_twice(registry: &mut Registry) {
        registry.routes(Mount::app("/seats"), crud::routes::<Seat>().routes(routes!(super::create_by_hand)), seats);
    }

    fn mount_resource_twice(registry: &mut Registry) {
        let (app, admin) = (Mount::app("/seats"), Mount::admin("/seats"));
        registry.resource(app, crud::resource::<Seat>()).resource(admin, crud::resource::<Seat>());
    }

    for (twice, what, fix) in [
        (
            Twice(mount_operation_twice),
            "POST /api/v1/app/seats is also mounted by module `twice`",
            "`crud::resource::<Room>().without(Verb::Create)`",
        ),
        (
            Twice(mount_resource_twice),
            "mounts the resource `seat`, which is mounted already",
            "mount its routes again by `registry.routes`, with the state `|ctx| ctx.get()`",
        ),
    ] {
        let app = App::builder(TestDatabase::sqlite().config());
        let error = app.with(DevIdentity::default()).with(twice).build().unwrap_err().to_string();
        assert!(error.contains(what) && error.contains(fix), "{error}");
    }
}
