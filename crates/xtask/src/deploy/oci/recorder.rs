//! Stands in for Oracle's cloud, which cannot be had on one machine: a server that records every request of the `oci` CLI, keeps
//! what is created, and gives it back when it is asked for. It judges nothing; see `bodies.py` for that.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

const NAMESPACE: &str = "shop";
/// Another one than that of the CLI's settings.
pub const HOME_REGION: &str = "ap-hyderabad-1";
/// Services whose lists are objects with `items`.
const WITH_ITEMS: [&str; 3] = ["dbSystems", "ociCacheConfigSets", "redisClusters"];

/// A request as it came.
#[derive(Clone)]
pub struct Recorded {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    /// Null when it was not JSON.
    pub body: Value,
}

impl Recorded {
    /// Whether it may have changed something.
    pub fn is_change(&self) -> bool {
        self.method != Method::GET && self.method != Method::HEAD
    }

    /// A header's text; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }
}

#[derive(Default)]
struct Cloud {
    requests: Vec<Recorded>,
    /// What is in each collection, in the order in which it was made.
    collections: BTreeMap<String, Vec<Value>>,
    made: usize,
}

/// The server, until the process ends.
pub struct Recorder {
    cloud: Arc<Mutex<Cloud>>,
    pub url: String,
}

impl Recorder {
    pub async fn start() -> Result<Self> {
        let cloud = Arc::new(Mutex::new(Cloud::default()));
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("no free port")?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&cloud));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { cloud, url })
    }

    /// The requests since the last time that this was asked.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut lock(&self.cloud).requests)
    }

    /// Puts something there that no script creates.
    pub fn place(&self, collection: &str, resource: Value) {
        let mut cloud = lock(&self.cloud);
        let all = cloud.collections.entry(collection.to_owned()).or_default();
        all.push(resource);
    }
}

fn lock(cloud: &Mutex<Cloud>) -> MutexGuard<'_, Cloud> {
    cloud.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(
    State(cloud): State<Arc<Mutex<Cloud>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut cloud = lock(&cloud);
    let text: Value = serde_json::from_slice(&body).unwrap_or_default();
    cloud.requests.push(Recorded {
        method: method.clone(),
        path: uri.path().to_owned(),
        headers,
        body: text.clone(),
    });
    let query: BTreeMap<String, String> =
        serde_urlencoded::from_str(uri.query().unwrap_or_default()).unwrap_or_default();
    let parts: Vec<&str> = uri
        .path()
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    let found = match parts.as_slice() {
        ["n", rest @ ..] => cloud.objects(&method, rest, &text, &body),
        // The first part is the version of the service's interface.
        [_, rest @ ..] => cloud.resources(&method, rest, &query, text),
        [] => None,
    };
    let headers = [
        ("content-type", "application/json"),
        ("etag", "1"),
        ("opc-request-id", "recorded"),
        ("opc-work-request-id", "ocid1.workrequest.oc1..recorded"),
    ];
    if let Some(value) = found {
        return (headers, value.to_string()).into_response();
    }
    let error = json!({ "code": "NotAuthorizedOrNotFound", "message": "there is no such thing" });
    (StatusCode::NOT_FOUND, headers, error.to_string()).into_response()
}

impl Cloud {
    /// Object Storage.
    fn objects(
        &mut self,
        method: &Method,
        parts: &[&str],
        body: &Value,
        bytes: &Bytes,
    ) -> Option<Value> {
        match (method.as_str(), parts) {
            ("GET", []) => Some(json!(NAMESPACE)),
            ("GET", [_, "b"]) => Some(json!(self.all("buckets"))),
            ("POST", [_, "b"]) => {
                let bucket = self.collections.entry("buckets".to_owned()).or_default();
                bucket.push(body.clone());
                Some(body.clone())
            }
            ("GET", [_, "b", bucket]) => {
                let mut buckets = self.all("buckets").iter();
                buckets.find(|each| each["name"] == *bucket).cloned()
            }
            ("GET", [_, "b", bucket, "o"]) => Some(
                json!({ "objects": self.all(&format!("objects of {bucket}")), "prefixes": [] }),
            ),
            ("PUT", [_, "b", bucket, "o", name @ ..]) => {
                let name = name.join("/").replace("%2F", "/");
                let objects = self
                    .collections
                    .entry(format!("objects of {bucket}"))
                    .or_default();
                objects.retain(|object| object["name"] != name.as_str());
                objects.push(json!({ "name": name, "md5": STANDARD.encode(Md5::digest(bytes)) }));
                Some(Value::Null)
            }
            _ => None,
        }
    }

    /// Everything else.
    fn resources(
        &mut self,
        method: &Method,
        parts: &[&str],
        query: &BTreeMap<String, String>,
        body: Value,
    ) -> Option<Value> {
        match (method.as_str(), parts) {
            ("GET", ["workRequests", id]) => Some(json!({ "id": id, "status": "SUCCEEDED" })),
            ("GET", ["loadBalancerWorkRequests", id]) => {
                let newest = self.all("loadBalancers").last()?;
                Some(
                    json!({ "id": id, "lifecycleState": "SUCCEEDED", "loadBalancerId": newest["id"] }),
                )
            }
            ("GET", ["dbSystems", _, "connectionDetails"]) => Some(connection_details()),
            ("GET", ["tenancies", _, "regionSubscriptions"]) => Some(json!([
                { "regionName": "ap-mumbai-1", "isHomeRegion": false, "status": "READY" },
                { "regionName": HOME_REGION, "isHomeRegion": true, "status": "READY" },
            ])),
            ("GET", [collection]) => {
                let is_wanted = |resource: &&Value| {
                    ["displayName", "name"].iter().all(|field| {
                        query
                            .get(*field)
                            .is_none_or(|name| name_of(resource) == Some(name))
                    })
                };
                let all = self.all(collection);
                let found: Vec<_> = all.iter().filter(is_wanted).collect();
                Some(if WITH_ITEMS.contains(collection) {
                    json!({ "items": found })
                } else {
                    json!(found)
                })
            }
            ("GET", [collection, id]) => self.find(collection, id).cloned(),
            ("POST", [collection]) => Some(self.make(collection, body)),
            // What belongs to a load balancer is kept in it, by its name.
            ("POST", [collection, id, part]) => {
                let owner = self.find(collection, id)?;
                let name = body["name"].as_str()?.to_owned();
                let parts = owner.as_object_mut()?.entry(*part).or_insert(json!({}));
                parts.as_object_mut()?.insert(name, body);
                Some(Value::Null)
            }
            ("PUT", [collection, id] | [collection, id, "updateShape"]) => {
                let found = self.find(collection, id)?;
                merge(found.as_object_mut()?, body);
                Some(found.clone())
            }
            ("DELETE", [collection, id]) => {
                let all = self.collections.get_mut(*collection)?;
                all.retain(|resource| resource["id"] != *id);
                Some(Value::Null)
            }
            _ => None,
        }
    }

    fn all(&self, collection: &str) -> &[Value] {
        self.collections.get(collection).map_or(&[], Vec::as_slice)
    }

    fn find(&mut self, collection: &str, id: &str) -> Option<&mut Value> {
        let all = self.collections.get_mut(collection)?;
        all.iter_mut().find(|resource| resource["id"] == id)
    }

    fn make(&mut self, collection: &str, mut body: Value) -> Value {
        self.made += 1;
        let kind = match collection {
            "computeCapacityReservations" => "capacityreservation".to_owned(),
            "secrets" => "vaultsecret".to_owned(),
            _ => collection.trim_end_matches('s').to_lowercase(),
        };
        let id = format!("ocid1.{kind}.oc1..made{}", self.made);
        body["id"] = json!(id);
        body["lifecycleState"] = json!("ACTIVE");
        if collection == "redisClusters" {
            let name = body["displayName"].as_str().unwrap_or_default().to_owned();
            body["primaryFqdn"] = json!(format!("{name}-primary.example"));
            body["discoveryFqdn"] = json!(format!("{name}-discovery.example"));
        }
        let all = self.collections.entry(collection.to_owned()).or_default();
        all.push(body.clone());
        body
    }
}

fn merge(into: &mut Map<String, Value>, body: Value) {
    if let Value::Object(fields) = body {
        into.extend(fields);
    }
}

fn name_of(resource: &Value) -> Option<&String> {
    let names = ["displayName", "secretName", "name"];
    names.iter().find_map(|field| match &resource[field] {
        Value::String(name) => Some(name),
        _ => None,
    })
}

fn connection_details() -> Value {
    json!({
        "caCertificate": "",
        "primaryDbEndpoint": { "fqdn": "primary.example", "port": 5432 },
        "readerEndpoint": { "fqdn": "reader.example", "port": 5432 },
        "instanceEndpoints": [],
    })
}
