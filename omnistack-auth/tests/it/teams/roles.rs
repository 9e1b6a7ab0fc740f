//! Tests of custom roles.

use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::Team;

on_each_database! {
    async fn the_matrix_shows_who_may_do_what(database: TestDatabase) {
        let team = Team::start(database).await;
        let role = json!({ "name": "auditor", "permissions": ["activity:read", "members:read"] });
        team.owner().post(team.path("/roles"), &role).await.expect(201);
        team.owner().post(team.path("/roles"), &role).await.expect_error(409, "ROLE_EXISTS");
        let taken = json!({ "name": "admin", "permissions": ["activity:read"] });
        team.owner().post(team.path("/roles"), taken).await.expect_error(409, "ROLE_EXISTS");
        let matrix = team.viewer().get(team.path("/roles")).await.expect(200).json();
        let known = matrix["permissions"].as_array().unwrap();
        assert!(known.contains(&json!("tenant:transfer")) && known.contains(&json!("members:manage")));
        let rows: Vec<_> = matrix["roles"].as_array().unwrap().iter().collect();
        let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["owner", "admin", "developer", "viewer", "auditor"]);
        let allows = |row: usize, what: &str| rows[row]["allowed"].as_array().unwrap().contains(&json!(what));
        for (what, expected) in [
            ("tenant:transfer", [true, false, false, false, false]),
            ("members:manage", [true, true, false, false, false]),
            ("members:read", [true, true, true, true, true]),
        ] {
            assert_eq!([0, 1, 2, 3, 4].map(|row| allows(row, what)), expected, "{what}");
        }
    }

    async fn a_role_in_use_stays(database: TestDatabase) {
        let team = Team::start(database).await;
        let role = json!({ "name": "auditor", "permissions": ["activity:read"] });
        team.owner().post(team.path("/roles"), &role).await.expect(201);
        let (viewer, path) = (team.members[3].0, team.path("/roles/auditor"));
        team.set_role(viewer, "auditor").await;
        team.owner().delete(&path).await.expect_error(409, "ROLE_IN_USE");
        team.set_role(viewer, "viewer").await;
        let invite = json!({ "email": "new@example.com", "role": "auditor" });
        let made = team.owner().post(team.path("/invitations"), invite).await.expect(201).json();
        let refused = team.owner().delete(&path).await.expect_error(409, "ROLE_IN_USE").json();
        assert_eq!(refused["error"]["details"], json!({ "members": 0, "invitations": 1 }));
        team.owner().delete(team.path(&format!("/invitations/{}", made["id"].as_str().unwrap()))).await.expect(204);
        team.owner().delete(&path).await.expect(204);
        team.owner().delete(&path).await.expect(404);
        for built_in in ["owner", "viewer"] {
            team.owner().delete(team.path(&format!("/roles/{built_in}"))).await.expect(404);
        }
    }
}
