use super::address;

#[test]
fn an_address_leaves_out_credentials_and_path() {
    let cases = [
        ("postgres://user:pa:ss@db.test:6543/name?sslmode=require", "db.test:6543"),
        ("postgres://db.test/name", "db.test:5432"),
        ("postgres://user@db.test?dbname=x", "db.test:5432"),
        ("postgres://[::1]/name", "[::1]:5432"),
        ("postgres://[::1]:1/name", "[::1]:1"),
    ];
    for (url, expected) in cases {
        assert_eq!(address(url, 5432), expected, "{url}");
    }
}
