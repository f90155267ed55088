//! A database with the roles and default privileges of a Supabase project: its HTTP interface lets
//! anybody act as `anon`.

use bharatmart_database::{migrate, products};
use bharatmart_domain::{PageRequest, Position};
use bharatmart_test_support::servers::{Postgres, PostgresOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor, PgConnection};

use crate::support::{add, config, open};

const ROLES: &str = "
    CREATE ROLE anon NOLOGIN;
    CREATE ROLE authenticated NOLOGIN;
    CREATE ROLE service_role NOLOGIN BYPASSRLS;
    CREATE ROLE shop LOGIN NOSUPERUSER;
    GRANT anon, authenticated TO shop";

const PROJECT: &str = r#"
    CREATE SCHEMA extensions;
    GRANT USAGE ON SCHEMA extensions TO PUBLIC;
    ALTER ROLE shop SET search_path = "$user", public, extensions;
    GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES FOR ROLE shop IN SCHEMA public
        GRANT ALL ON TABLES TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES FOR ROLE shop IN SCHEMA public
        GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES FOR ROLE shop IN SCHEMA public
        GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;"#;

/// Tables of all schemas but PostgreSQL's own that row-level security does not guard.
const UNGUARDED: &str = "
    SELECT pg_class.oid::regclass::text
    FROM pg_class
    WHERE relkind IN ('r', 'p')
        AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
        AND NOT relrowsecurity";

/// Whatever a stranger may do, in all schemas but PostgreSQL's own; what belongs to an extension apart.
const ALLOWED: &str = "
    WITH stranger (role) AS (VALUES ('anon'), ('authenticated')),
    ours AS (
        SELECT oid, relkind
        FROM pg_class
        WHERE relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    )
    SELECT concat_ws(' ', role, privilege, oid::regclass)
    FROM stranger, ours, unnest(ARRAY[
        'SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'
    ]) AS privilege
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND has_table_privilege(role, oid, privilege)
    UNION ALL
    SELECT concat_ws(' ', role, privilege, 'columns of', oid::regclass)
    FROM stranger, ours, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS privilege
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND has_any_column_privilege(role, oid, privilege)
    UNION ALL
    SELECT concat_ws(' ', role, privilege, oid::regclass)
    FROM stranger, ours, unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) AS privilege
    WHERE relkind = 'S' AND has_sequence_privilege(role, oid, privilege)
    UNION ALL
    SELECT concat_ws(' ', role, 'EXECUTE', oid::regprocedure)
    FROM stranger, pg_proc
    WHERE pronamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
        AND has_function_privilege(role, oid, 'EXECUTE')
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
    UNION ALL
    SELECT concat_ws(' ', role, 'USAGE', 'sandbox_gateway')
    FROM stranger
    WHERE has_schema_privilege(role, 'sandbox_gateway', 'USAGE')";

async fn names(connection: &mut PgConnection, statement: &'static str) -> Vec<String> {
    sqlx::query_scalar(statement)
        .fetch_all(connection)
        .await
        .expect("the catalogue answers")
}

/// A database like a new project's; the URL for its owner, who is no superuser.
async fn project(postgres: &Postgres, name: &str, extension: &str) -> (PgConnection, String) {
    let url = postgres
        .create_database(name)
        .await
        .expect("a database is made");
    let mut connection = PgConnection::connect(&url).await.expect("it answers");
    for statements in [
        format!("ALTER DATABASE {name} OWNER TO shop"),
        PROJECT.to_owned(),
        extension.to_owned(),
    ] {
        connection
            .execute(AssertSqlSafe(statements))
            .await
            .expect("it is set up");
    }
    (connection, url.replace("postgres@", "shop@"))
}

#[tokio::test]
async fn strangers_can_touch_nothing_of_the_shop() {
    let postgres = Postgres::start(PostgresOptions::default())
        .await
        .expect("PostgreSQL starts");
    let server = postgres.url("postgres");
    let mut connection = PgConnection::connect(&server).await.expect("it answers");
    connection.execute(ROLES).await.expect("roles are made");
    for (name, extension) in [
        ("installed", "CREATE EXTENSION pg_trgm SCHEMA extensions"),
        ("installable", ""),
    ] {
        let (mut superuser, url) = project(&postgres, name, extension).await;
        let run = migrate(&config(&url), |_| ()).await;
        assert!(run.expect("the owner of the database may migrate it") > 0);

        assert_eq!(names(&mut superuser, UNGUARDED).await, [""; 0], "{name}");
        assert_eq!(names(&mut superuser, ALLOWED).await, [""; 0], "{name}");
        // Had the defaults not been in force, there would have been nothing to take back.
        let kept: bool =
            sqlx::query_scalar("SELECT has_table_privilege('service_role', 'products', 'SELECT')")
                .fetch_one(&mut superuser)
                .await
                .expect("the catalogue answers");
        assert!(kept, "{name}");

        let mut owner = PgConnection::connect(&url).await.expect("it answers");
        owner
            .execute(
                "CREATE TABLE later (id bigint GENERATED ALWAYS AS IDENTITY);
                 CREATE TABLE later_still (id serial)",
            )
            .await
            .expect("a later migration makes tables");
        assert_eq!(names(&mut superuser, ALLOWED).await, [""; 0], "{name}");

        owner.execute("SET ROLE anon").await.expect("anon exists");
        let refused = owner.execute("SELECT FROM products").await;
        let refused = refused.expect_err("a stranger may not read");
        let code = refused
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        assert_eq!(code.as_deref(), Some("42501"), "{refused}");

        serves(&url).await;
    }
}

/// The shop itself is not hindered.
async fn serves(url: &str) {
    let database = open(url);
    database.check_schema().await.expect("it is current");
    let mut connection = database.write().await.expect("it answers");
    let kite = add(&mut connection, "Kite", "Toys").await;
    let found = products::find(&mut connection, kite.id).await;
    assert_eq!(found.expect("it answers"), Some(kite.clone()));
    let filter = products::ProductFilter {
        search: Some("ite".to_owned()),
        ..products::ProductFilter::default()
    };
    let page = PageRequest {
        limit: 10,
        position: Position::Offset(0),
    };
    let listed = products::list(&mut connection, &filter, &page).await;
    assert_eq!(listed.expect("it answers").rows, [kite]);
}
