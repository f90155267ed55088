//! Kubernetes objects as JSON, and what belongs together among them.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::deploy::json::{items, text};

/// One object.
#[derive(Clone, PartialEq)]
pub struct Object(pub Value);

impl fmt::Display for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind(), self.name())
    }
}

impl Object {
    pub fn kind(&self) -> &str {
        text(&self.0["kind"])
    }

    pub fn name(&self) -> &str {
        text(&self.0["metadata"]["name"])
    }

    pub fn spec(&self) -> &Value {
        &self.0["spec"]
    }

    /// Whether Kubernetes itself does not know its kind.
    pub fn is_custom(&self) -> bool {
        let version = text(&self.0["apiVersion"]);
        let own = version
            .split_once('/')
            .is_none_or(|(group, _)| !group.contains('.') || group.ends_with(".k8s.io"));
        !own
    }

    /// The template of its pods.
    pub fn template(&self) -> Option<&Value> {
        let template = &self.spec()["template"];
        (!template.is_null()).then_some(template)
    }

    /// Its containers, those that run first included.
    pub fn containers(&self) -> impl Iterator<Item = &Value> {
        let spec = self.template().map(|template| &template["spec"]);
        let lists = ["initContainers", "containers"];
        spec.into_iter()
            .flat_map(move |spec| lists.map(|list| items(&spec[list])))
            .flatten()
    }

    pub fn component(&self) -> &str {
        let labels = self
            .template()
            .map(|template| &template["metadata"]["labels"]);
        labels.map_or("", |labels| text(&labels["app.kubernetes.io/component"]))
    }
}

/// What one kustomization makes.
pub struct Build {
    pub name: String,
    pub objects: Vec<Object>,
}

impl Build {
    pub fn kinds<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Object> {
        self.objects
            .iter()
            .filter(move |object| object.kind() == kind)
    }

    pub fn find(&self, kind: &str, name: &str) -> Option<&Object> {
        self.objects
            .iter()
            .find(|object| object.kind() == kind && object.name() == name)
    }

    /// Whoever has pods.
    pub fn workloads(&self) -> impl Iterator<Item = &Object> {
        self.objects
            .iter()
            .filter(|object| object.template().is_some())
    }

    /// Those whose pods a selector chooses.
    pub fn chosen<'a>(&'a self, selector: &'a Value) -> impl Iterator<Item = &'a Object> {
        self.workloads().filter(move |object| {
            let labels = object
                .template()
                .map(|template| &template["metadata"]["labels"]);
            labels.is_some_and(|labels| chooses(selector, labels))
        })
    }
}

/// Whether a label selector, `matchLabels` and `matchExpressions` with `In`, chooses these labels.
pub fn chooses(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .all(|(name, value)| &labels[name] == value);
    let among = items(&selector["matchExpressions"]).all(|expression| {
        expression["operator"] == "In"
            && items(&expression["values"]).any(|value| &labels[text(&expression["key"])] == value)
    });
    equal && among
}

/// Reads a file or stream of YAML documents.
pub fn parse(yaml: &str) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for document in serde_norway::Deserializer::from_str(yaml) {
        let value = Value::deserialize(document).context("this is no YAML")?;
        if value.is_null() {
            continue;
        }
        let object = Object(value);
        ensure!(
            !object.kind().is_empty() && !object.name().is_empty(),
            "an object without kind or name: {}",
            object.0
        );
        objects.push(object);
    }
    Ok(objects)
}

/// By kind and name, each of which may come once.
pub fn by_id(objects: &[Object]) -> Result<BTreeMap<String, &Object>> {
    let mut found = BTreeMap::new();
    for object in objects {
        ensure!(
            found.insert(object.to_string(), object).is_none(),
            "{object} comes twice"
        );
    }
    Ok(found)
}
