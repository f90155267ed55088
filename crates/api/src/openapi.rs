//! The OpenAPI document (version 3.1), made from the handlers.
//!
//! A handler's attribute says what is its own: its parameters, its body, its answers. What all have in common is added
//! here: who is refused and how, the body of every refusal, and the headers that the layers write.

use std::collections::BTreeSet;

use bharatmart_lifecycle::Health;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::{docs, limits::WEBHOOK, problem::ProblemBody, router::routes, serve::VERSION};

#[derive(OpenApi)]
#[openapi(
    components(schemas(ProblemBody)),
    tags(
        (name = "Accounts", description = "Signing up, in and out, and one's own profile."),
        (name = "Products", description = "What is sold."),
        (name = "Orders", description = "What was ordered, by whom, and what became of it."),
        (name = "Payments", description = "How orders are paid for."),
        (name = "Users", description = "The people, for administrators."),
        (name = "Queues", description = "The jobs, for administrators."),
        (name = "Audit", description = "What administrators have done, for administrators."),
        (name = "System", description = "What this is, and how it is set up."),
        (name = "Health", description = "Whether it works, for load balancers and orchestrators."),
    )
)]
struct Common;

/// What the names of lists begin with; the rest is that of their rows.
const LIST: &str = "List_";
const PROBLEM: &str = "#/components/schemas/Problem";
/// What is said of a limit, in most answers.
const RATE_LIMIT: [&str; 5] = [
    "RateLimit-Policy",
    "RateLimit",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
];
/// Those of bodies that a client may keep.
const CONDITIONAL: [&str; 3] = ["ETag", "Cache-Control", "X-Cache"];
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The document of every route.
#[must_use]
pub fn document() -> Value {
    let mut generated = Common::openapi();
    generated.merge(routes().into_openapi());
    generated.merge(Health::routes().into_openapi());
    generated.merge(docs::router().into_openapi());
    let mut document = json!(generated);
    document["info"] = json!({
        "title": "BharatMart API",
        "version": VERSION,
        "summary": "An online shop: products, orders, payments and the people who make them.",
        "description": "Money is a JSON number of rupees, timestamps are RFC 3339 in UTC, and what is absent is null. \
                        Every refusal has one form, that of RFC 9457.",
        "license": { "name": "Apache License 2.0", "identifier": "Apache-2.0" },
    });
    document["servers"] = json!([{ "url": "/", "description": "This server." }]);
    document["components"]["securitySchemes"]["bearer"] = json!({
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `token` of a sign-in. A requirement names the role that it takes, if not any will do.",
    });
    document["components"]["headers"] = headers();
    let paths = document["paths"].as_object_mut();
    for (path, item) in paths.into_iter().flatten() {
        for method in METHODS {
            if let Some(operation) = item.get_mut(method) {
                complete(path, method, operation);
            }
        }
    }
    tidy(&mut document);
    name_rows(&mut document);
    require_no_empty_bodies(&mut document);
    require_what_is_always_there(&mut document);
    document
}

/// Headers that the layers write.
fn headers() -> Value {
    json!({
        "X-Request-Id": {
            "description": "What the request was called in the logs: what its sender called it, if that is sane.",
            "schema": { "type": "string" },
        },
        "Retry-After": {
            "description": "After how many seconds to try again (RFC 9110), if that is worth while.",
            "schema": { "type": "integer", "minimum": 1 },
        },
        "WWW-Authenticate": {
            "description": "How to say who one is (RFC 6750).",
            "schema": { "type": "string" },
        },
        "ETag": {
            "description": "The entity tag of this body (RFC 9110).",
            "schema": { "type": "string" },
        },
        "Cache-Control": {
            "description": "How long a copy may be shown (RFC 9111).",
            "schema": { "type": "string" },
        },
        "X-Cache": {
            "description": "`HIT` if the body was at hand, else `MISS`.",
            "schema": { "type": "string" },
        },
        "X-Consistency-Token": {
            "description": "How far the database was then, for a later request to send; only where there are replicas.",
            "schema": { "type": "string" },
        },
        "RateLimit-Policy": {
            "description": "The limit that the request counts for, the requests that it allows (`q`), and the seconds in \
                            which it does (`w`) (draft-ietf-httpapi-ratelimit-headers-10). Absent if there is none.",
            "schema": { "type": "string" },
            "example": "\"requests\";q=3000;w=900",
        },
        "RateLimit": {
            "description": "How many requests are left of that limit (`r`), and the seconds until there are more (`t`).",
            "schema": { "type": "string" },
            "example": "\"requests\";r=2988;t=871",
        },
        "RateLimit-Limit": {
            "description": "`q` of `RateLimit-Policy`, for programs that know earlier drafts.",
            "schema": { "type": "integer", "minimum": 1 },
        },
        "RateLimit-Remaining": {
            "description": "`r` of `RateLimit`.",
            "schema": { "type": "integer", "minimum": 0 },
        },
        "RateLimit-Reset": {
            "description": "`t` of `RateLimit`.",
            "schema": { "type": "integer", "minimum": 0 },
        },
    })
}

/// Adds to an operation what follows from the rest of it.
fn complete(path: &str, method: &str, operation: &mut Value) {
    let security = &mut operation["security"];
    if security.is_null() {
        *security = json!([]);
    }
    let required = security.as_array().into_iter().flatten();
    let mut schemes = required.filter_map(|each| each.get("bearer")?.as_array());
    let roles = schemes.next();
    let (takes_token, names_role) = (
        roles.is_some(),
        roles.is_some_and(|roles| !roles.is_empty()),
    );
    let has_body = operation.get("requestBody").is_some();
    let has_parameters = operation["parameters"]
        .as_array()
        .is_some_and(|parameters| !parameters.is_empty());
    let is_probe = path.starts_with(crate::router::HEALTH);

    let mut refusals = Vec::new();
    if has_body || has_parameters {
        refusals.push((400, "Something in the request is not as it should be."));
    }
    if takes_token {
        refusals.push((401, "The token is missing, wrong or past its end."));
        // With `AUTH_PROVIDER=supabase` whoever comes for the first time becomes a customer.
        let no_account = "Another account has the address that the token names.";
        refusals.push((409, no_account));
        let forbidden = if names_role {
            "Only for administrators."
        } else {
            "The token names no e-mail address, so there can be no account."
        };
        refusals.push((403, forbidden));
    }
    if has_body {
        refusals.extend([
            (413, "The body is too long."),
            (415, "The body is of another type."),
        ]);
    }
    if !is_probe {
        refusals.extend([
            (429, "Too many requests; try again later."),
            (500, "A defect of ours."),
            (
                503,
                "Something that this needs is away, or there is too much to do; try again shortly.",
            ),
        ]);
    }
    let responses = &mut operation["responses"];
    for (status, description) in refusals {
        let response = &mut responses[status.to_string()];
        if response.is_null() {
            *response = json!({ "description": description });
        }
    }
    let traits = Traits {
        is_counted: !is_probe && path != WEBHOOK,
        is_conditional: responses.get("304").is_some(),
        writes: method != "get",
    };
    for (status, response) in responses.as_object_mut().into_iter().flatten() {
        finish_response(status, response, &traits);
    }
    let parameters = &mut operation["parameters"];
    if parameters.is_null() {
        *parameters = json!([]);
    }
    if let Some(parameters) = parameters.as_array_mut() {
        parameters.push(json!({
            "name": "X-Request-Id",
            "in": "header",
            "description": "What to call the request in the logs: up to 128 visible characters.",
            "schema": { "type": "string" },
        }));
        if !is_probe {
            parameters.push(json!({
                "name": "X-Consistency-Token",
                "in": "header",
                "description": "That of an earlier answer, behind which the reads of this request must not fall.",
                "schema": { "type": "string" },
            }));
        }
    }
}

/// What the headers of an operation's answers depend on.
struct Traits {
    is_counted: bool,
    is_conditional: bool,
    writes: bool,
}

fn finish_response(status: &str, response: &mut Value, traits: &Traits) {
    let is_refusal = status.starts_with(['4', '5']);
    if is_refusal && response.get("content").is_none() {
        response["content"] =
            json!({ "application/problem+json": { "schema": { "$ref": PROBLEM } } });
    }
    let mut common = vec!["X-Request-Id"];
    let is_success = status.starts_with(['2', '3']);
    match status {
        "401" => common.push("WWW-Authenticate"),
        "409" | "429" | "503" => common.push("Retry-After"),
        _ => {}
    }
    if traits.is_counted && (status == "429" || is_success) {
        common.extend(RATE_LIMIT);
    }
    if traits.is_conditional && is_success {
        common.extend(CONDITIONAL);
    }
    if traits.writes && is_success {
        common.push("X-Consistency-Token");
    }
    for name in common {
        response["headers"][name] = json!({ "$ref": format!("#/components/headers/{name}") });
    }
}

/// Says in a schema's own place what the generator says beside it: a described and inlined field comes out as
/// `allOf` of the field's schema and of a second one that has nothing but the description, and calls it an object.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(tidy),
        Value::Object(fields) => {
            fields.values_mut().for_each(tidy);
            if let Some(merged) = described(fields) {
                *fields = merged;
            }
        }
        _ => {}
    }
}

fn described(fields: &Map<String, Value>) -> Option<Map<String, Value>> {
    let parts = fields.get("allOf").filter(|_| fields.len() == 1)?;
    let [Value::Object(schema), Value::Object(rest)] = parts.as_array()?.as_slice() else {
        return None;
    };
    let description = rest.get("description").filter(|_| rest.len() == 2)?;
    if rest.get("type") != Some(&json!("object")) || schema.contains_key("$ref") {
        return None;
    }
    let mut merged = schema.clone();
    merged.insert("description".to_owned(), description.clone());
    Some(merged)
}

/// Refers to the rows of lists by name. The generator writes them out in each list, and a client that is made of the
/// document would have one type more for each.
fn name_rows(document: &mut Value) {
    let Some(schemas) = document["components"]["schemas"].as_object_mut() else {
        return;
    };
    let lists: Vec<String> = schemas
        .keys()
        .filter(|name| name.starts_with(LIST))
        .cloned()
        .collect();
    for list in lists {
        let row = list[LIST.len()..].to_owned();
        let reference = json!({ "$ref": format!("#/components/schemas/{row}") });
        let items = &mut schemas[&list]["properties"]["data"]["items"];
        let written_out = std::mem::replace(items, reference);
        schemas.entry(row).or_insert(written_out);
    }
}

/// A body of which nothing is required need not be sent.
fn require_no_empty_bodies(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    let items = document["paths"]
        .as_object_mut()
        .into_iter()
        .flat_map(Map::values_mut);
    for operation in items
        .filter_map(Value::as_object_mut)
        .flat_map(Map::values_mut)
    {
        let Some(body) = operation.get_mut("requestBody") else {
            continue;
        };
        let reference = body["content"]["application/json"]["schema"]["$ref"].as_str();
        let name = reference.and_then(|path| path.rsplit('/').next());
        if name.is_some_and(|name| schemas[name].get("required").is_none()) {
            body["required"] = json!(false);
        }
    }
}

/// What is absent is null, never missing: all fields of what is only ever answered are required. The generator takes
/// those that may be null for optional.
fn require_what_is_always_there(document: &mut Value) {
    let mut taken = BTreeSet::new();
    let paths = document["paths"].as_object();
    let operations = paths
        .into_iter()
        .flat_map(Map::values)
        .filter_map(Value::as_object);
    for operation in operations.flat_map(Map::values) {
        references(&operation["requestBody"], document, &mut taken);
    }
    let schemas = document["components"]["schemas"].as_object_mut();
    for (name, schema) in schemas.into_iter().flatten() {
        if !taken.contains(name) {
            require_all(schema);
        }
    }
}

/// The names of the schemas that `value` refers to, and of those that they refer to.
fn references(value: &Value, document: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => values
            .iter()
            .for_each(|value| references(value, document, found)),
        Value::Object(fields) => {
            let name = fields
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|path| path.strip_prefix("#/components/schemas/"));
            if let Some(name) = name
                && found.insert(name.to_owned())
            {
                references(&document["components"]["schemas"][name], document, found);
            }
            fields
                .values()
                .for_each(|value| references(value, document, found));
        }
        _ => {}
    }
}

fn require_all(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(require_all),
        Value::Object(fields) => {
            fields.values_mut().for_each(require_all);
            let Some(Value::Object(properties)) = fields.get("properties") else {
                return;
            };
            let required = fields.get("required").and_then(Value::as_array);
            let is_required =
                |name: &str| required.is_some_and(|names| names.iter().any(|each| each == name));
            // One that is neither required nor null is left out when it says nothing.
            let always = properties
                .iter()
                .filter(|(name, schema)| is_required(name) || may_be_null(schema));
            let names: Vec<_> = always.map(|(name, _)| name.clone()).collect();
            fields.insert("required".to_owned(), json!(names));
        }
        _ => {}
    }
}

fn may_be_null(schema: &Value) -> bool {
    let null = json!("null");
    let types = schema["type"].as_array();
    let choices = schema["oneOf"].as_array();
    types.is_some_and(|types| types.contains(&null))
        || choices.is_some_and(|choices| choices.iter().any(|choice| choice["type"] == null))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(document: &Value) -> Vec<(String, &Value)> {
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().expect("there are paths") {
            for (method, operation) in item.as_object().expect("a path has methods") {
                operations.push((format!("{method} {path}"), operation));
            }
        }
        operations
    }

    #[test]
    fn every_operation_says_what_it_does_what_it_takes_and_what_it_answers() {
        let document = document();
        let operations = operations(&document);
        assert!(operations.len() > 30, "{}", operations.len());
        let mut ids = BTreeSet::new();
        for (name, operation) in &operations {
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!(
                !summary.is_empty() && !summary.ends_with('.'),
                "{name}: {summary:?}"
            );
            assert!(
                ids.insert(operation["operationId"].as_str()),
                "{name}: its id is taken"
            );
            for parameter in operation["parameters"].as_array().expect("they are listed") {
                assert!(parameter.get("schema").is_some(), "{name}: {parameter}");
            }
            let responses = operation["responses"].as_object().expect("it answers");
            for (status, response) in responses {
                let what = format!("{name} {status}");
                assert!(response["description"].is_string(), "{what}");
                assert!(response["headers"]["X-Request-Id"].is_object(), "{what}");
                if status.starts_with(['4', '5']) && !name.contains("/api/health") {
                    let schema = &response["content"]["application/problem+json"]["schema"];
                    assert_eq!(schema["$ref"], PROBLEM, "{what}");
                }
            }
        }
    }

    #[test]
    fn what_may_be_null_in_an_answer_is_required_there_and_not_in_a_body() {
        let document = document();
        let schemas = &document["components"]["schemas"];
        let required = |name: &str| {
            schemas[name]["required"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        };
        assert!(required("Product").contains(&json!("description")));
        assert!(!required("CreateProduct").contains(&json!("description")));
        assert!(
            !required("Problem").contains(&json!("errors")),
            "left out when there are none"
        );
    }

    #[test]
    fn lists_refer_to_their_rows() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object();
        let schemas = schemas.expect("there are schemas");
        let lists = schemas.iter().filter(|(name, _)| name.starts_with(LIST));
        let mut count = 0;
        for (name, list) in lists {
            let reference = list["properties"]["data"]["items"]["$ref"].as_str();
            let row = reference.and_then(|path| path.rsplit('/').next());
            assert!(row.is_some_and(|row| schemas.contains_key(row)), "{name}");
            count += 1;
        }
        assert!(count > 4, "{count}");
    }

    #[test]
    fn a_described_field_keeps_its_schema() {
        let mut value = json!({
            "name": { "allOf": [{ "type": "string", "maxLength": 5 }, { "type": "object", "description": "A name." }] },
            "both": { "allOf": [{ "$ref": "#/a" }, { "type": "object", "properties": {} }] },
        });
        let both = value["both"].clone();
        tidy(&mut value);
        assert_eq!(
            value["name"],
            json!({ "type": "string", "maxLength": 5, "description": "A name." })
        );
        assert_eq!(value["both"], both);
    }
}
