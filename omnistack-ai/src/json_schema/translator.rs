//! The translation of a schema into a dialect.

mod keywords;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    SchemaDialect, cut,
    flatten::{flatten, merge, type_names},
    structure::{definition_name, is_annotation, resolve},
};

/// Most subschemas of a result. Alternatives repeat what they have in common.
const MAX_TRANSLATED_PARTS: usize = 10_000;

/// Most alternatives that have constraints in common, which each of them repeats.
const MAX_ALTERNATIVES_WITH_COMMON_PART: usize = 100;

/// The translator of one schema.
#[derive(Debug)]
pub(super) struct Translator<'a> {
    root: &'a Value,
    dialect: SchemaDialect,
    /// The definitions that are referred to, in the order of their first reference.
    definitions: Vec<Definition>,
    /// The definition that is being translated. `None`: the root.
    current: Option<usize>,
    /// The references whose definitions are a part of the subschemas that are being translated, in place of a name.
    inlined: Vec<String>,
    parts: usize,
}

#[derive(Debug)]
struct Definition {
    reference: String,
    name: String,
    /// The definitions that it refers to.
    refers_to: Vec<usize>,
}

impl<'a> Translator<'a> {
    pub(super) fn new(root: &'a Value, dialect: SchemaDialect) -> Self {
        Self { root, dialect, definitions: Vec::new(), current: None, inlined: Vec::new(), parts: 0 }
    }

    pub(super) fn translate(mut self) -> Result<Value, String> {
        let document = self.root;
        let Value::Object(object) = document else { return Err("the JSON schema is no object".to_owned()) };
        // No API accepts a reference as the root.
        let root = self.flat(object, true, 0)?;
        let Value::Object(mut result) = self.object(root, "the answer")? else {
            return Err("the JSON schema is no object".to_owned());
        };
        if self.dialect == SchemaDialect::OpenAiStrict && result.get("type") != Some(&json!("object")) {
            return Err("the JSON schema must describe an object".to_owned());
        }
        self.inlined.clear();
        let mut translated = BTreeMap::new();
        let mut next = 0;
        while let Some(definition) = self.definitions.get(next) {
            let (reference, name) = (definition.reference.clone(), definition.name.clone());
            self.current = Some(next);
            let definition = self.schema(resolve(self.root, &reference)?, &name)?;
            translated.insert(name, definition);
            next += 1;
        }
        if self.dialect == SchemaDialect::Anthropic && self.is_recursive() {
            return Err("the JSON schema refers to itself".to_owned());
        }
        if !translated.is_empty() {
            result.insert("$defs".to_owned(), json!(translated));
        }
        Ok(Value::Object(result))
    }

    /// Translates a subschema. `path` describes its place, for errors.
    fn schema(&mut self, schema: &Value, path: &str) -> Result<Value, String> {
        match schema {
            Value::Object(object) => {
                let outer = self.inlined.len();
                let flat = self.flat(object, false, outer)?;
                let translated = self.object(flat, path);
                self.inlined.truncate(outer);
                translated
            }
            Value::Bool(true) => self.any(Map::new(), path),
            _ => Err(format!("`{}` accepts no value", cut(path))),
        }
    }

    /// Returns a subschema without `allOf`. `outer` is the number of references that are inlined around it: a
    /// definition that is inlined into itself has no end.
    fn flat(
        &mut self,
        schema: &Map<String, Value>,
        inline_reference: bool,
        outer: usize,
    ) -> Result<Map<String, Value>, String> {
        let flat = flatten(self.root, schema, inline_reference, &mut self.inlined)?;
        let (around, new) = self.inlined.split_at(outer);
        match new.iter().find(|reference| around.contains(reference)) {
            Some(reference) => {
                let reference = cut(reference);
                Err(format!("`{reference}` refers to itself beside other keywords: refer to it without any"))
            }
            None => Ok(flat),
        }
    }

    /// Translates a subschema without `allOf`.
    fn object(&mut self, mut schema: Map<String, Value>, path: &str) -> Result<Value, String> {
        self.parts += 1;
        if self.parts > MAX_TRANSLATED_PARTS {
            return Err("the JSON schema becomes too large: simplify it".to_owned());
        }
        if let Some(Value::String(reference)) = schema.get("$ref") {
            let name = self.definition(reference);
            return Ok(json!({"$ref": format!("#/$defs/{name}")}));
        }
        match (schema.remove("anyOf"), schema.remove("oneOf")) {
            (None, None) => self.value(schema, path),
            (Some(Value::Array(alternatives)), None) | (None, Some(Value::Array(alternatives))) => {
                self.alternatives(schema, alternatives, path)
            }
            _ => Err(format!("`{}` combines alternatives with alternatives", cut(path))),
        }
    }

    fn alternatives(
        &mut self,
        mut common: Map<String, Value>,
        alternatives: Vec<Value>,
        path: &str,
    ) -> Result<Value, String> {
        let mut result = Map::new();
        keywords::keep_annotations(&common, &mut result);
        common.retain(|keyword, _| !is_annotation(keyword));
        if !common.is_empty() && alternatives.len() > MAX_ALTERNATIVES_WITH_COMMON_PART {
            return Err(format!(
                "`{}` has more than {MAX_ALTERNATIVES_WITH_COMMON_PART} alternatives with a common part",
                cut(path)
            ));
        }
        let mut translated: Vec<Value> = Vec::new();
        for alternative in alternatives {
            let alternative = if common.is_empty() {
                self.schema(&alternative, path)?
            } else {
                let outer = self.inlined.len();
                let mut both = common.clone();
                match alternative {
                    Value::Object(alternative) => merge(&mut both, self.flat(&alternative, true, outer)?)?,
                    Value::Bool(true) => {}
                    _ => continue,
                }
                let both = self.flat(&both, false, outer)?;
                let both = self.object(both, path)?;
                self.inlined.truncate(outer);
                both
            };
            if !translated.contains(&alternative) {
                translated.push(alternative);
            }
        }
        if translated.is_empty() {
            return Err(format!("`{}` accepts no value", cut(path)));
        }
        result.insert("anyOf".to_owned(), translated.into());
        Ok(result.into())
    }

    /// Translates a subschema without alternatives.
    fn value(&mut self, schema: Map<String, Value>, path: &str) -> Result<Value, String> {
        let types = keywords::types(&schema);
        let is_nested = |name: &String| matches!(name.as_str(), "object" | "array");
        let concrete = types.iter().filter(|name| *name != "null").count();
        if types.is_empty() {
            return self.any(schema, path);
        }
        if concrete > 1 && types.iter().any(is_nested) {
            let mut common = schema;
            common.remove("type");
            let alternatives = types.iter().map(|name| json!({"type": name})).collect();
            return self.alternatives(common, alternatives, path);
        }
        let mut result = Map::new();
        keywords::keep_annotations(&schema, &mut result);
        if schema.contains_key("enum") || schema.contains_key("const") {
            return keywords::enumeration(self.dialect, &schema, types, result, path);
        }
        result.insert("type".to_owned(), if let [only] = types.as_slice() { json!(only) } else { json!(types) });
        let has = |name: &str| types.iter().any(|known| known == name);
        if has("object") {
            self.properties(&schema, &mut result, path)?;
        }
        if has("array") {
            self.items(&schema, &mut result, path)?;
        }
        keywords::keep_bounds(self.dialect, &schema, &types, &mut result);
        Ok(result.into())
    }

    fn properties(
        &mut self,
        schema: &Map<String, Value>,
        result: &mut Map<String, Value>,
        path: &str,
    ) -> Result<(), String> {
        let known = schema.get("properties").and_then(Value::as_object);
        let required: Vec<&str> = schema.get("required").map(type_names).unwrap_or_default();
        let mut properties = Map::new();
        for (name, property) in known.into_iter().flatten() {
            let mut translated = self.schema(property, &format!("{path}.{name}"))?;
            if self.dialect == SchemaDialect::OpenAiStrict && !required.contains(&name.as_str()) {
                translated = keywords::nullable(translated);
            }
            properties.insert(name.clone(), translated);
        }
        let more = schema.get("additionalProperties");
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        let has_patterns = patterns.is_some_and(|patterns| !patterns.is_empty());
        if self.dialect.closes_objects() {
            if properties.is_empty() && (has_patterns || more != Some(&Value::Bool(false))) {
                return Err(format!("`{}` has properties without fixed names", cut(path)));
            }
            result.insert("additionalProperties".to_owned(), Value::Bool(false));
        } else {
            match more {
                // The names that match the patterns are additional ones to a dialect without patterns.
                Some(_) if has_patterns => {}
                Some(Value::Bool(any)) => {
                    result.insert("additionalProperties".to_owned(), json!(any));
                }
                Some(more) => {
                    let more = self.schema(more, &format!("{path}.*"))?;
                    result.insert("additionalProperties".to_owned(), more);
                }
                None => {}
            }
        }
        let required: Vec<&str> = match self.dialect {
            SchemaDialect::OpenAiStrict => properties.keys().map(String::as_str).collect(),
            _ => required.into_iter().filter(|name| properties.contains_key(*name)).collect(),
        };
        if !required.is_empty() || self.dialect == SchemaDialect::OpenAiStrict {
            result.insert("required".to_owned(), json!(required));
        }
        if !properties.is_empty() || self.dialect.closes_objects() {
            result.insert("properties".to_owned(), properties.into());
        }
        Ok(())
    }

    fn items(
        &mut self,
        schema: &Map<String, Value>,
        result: &mut Map<String, Value>,
        path: &str,
    ) -> Result<(), String> {
        let path = format!("{path}[]");
        let none: &[Value] = &[];
        let (fixed, rest) = match (schema.get("prefixItems"), schema.get("items")) {
            (Some(Value::Array(fixed)), rest) => (fixed.as_slice(), rest),
            // Until draft 7, a list in `items` has the meaning of `prefixItems`.
            (_, Some(Value::Array(fixed))) => (fixed.as_slice(), schema.get("additionalItems")),
            (_, rest) => (none, rest),
        };
        let rest = rest.filter(|rest| !rest.is_boolean());
        let mut translated = Vec::new();
        for item in fixed {
            translated.push(self.schema(item, &path)?);
        }
        let rest = match rest {
            Some(rest) => Some(self.schema(rest, &path)?),
            None if fixed.is_empty() => Some(self.any(Map::new(), &path)?),
            None => None,
        };
        if self.dialect == SchemaDialect::Gemini {
            if !translated.is_empty() {
                result.insert("prefixItems".to_owned(), translated.into());
            }
            if let Some(rest) = rest.filter(|rest| rest.as_object().is_none_or(|rest| !rest.is_empty())) {
                result.insert("items".to_owned(), rest);
            }
            return Ok(());
        }
        // Without fixed positions, each item may be any of them.
        let mut distinct: Vec<Value> = Vec::new();
        for item in translated.into_iter().chain(rest) {
            if !distinct.contains(&item) {
                distinct.push(item);
            }
        }
        let items = if distinct.len() == 1 { distinct.remove(0) } else { json!({"anyOf": distinct}) };
        result.insert("items".to_owned(), items);
        Ok(())
    }

    /// Translates a subschema that accepts values of any type.
    fn any(&self, schema: Map<String, Value>, path: &str) -> Result<Value, String> {
        if self.dialect.closes_objects() {
            return Err(format!("`{}` accepts values of any type", cut(path)));
        }
        let mut result = Map::new();
        keywords::keep_annotations(&schema, &mut result);
        Ok(result.into())
    }

    /// Returns the name of the definition that a reference leads to.
    fn definition(&mut self, reference: &str) -> String {
        let position = self.definitions.iter().position(|known| known.reference == reference);
        let position = position.unwrap_or_else(|| {
            let accepted = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' };
            let wanted = definition_name(reference).unwrap_or_else(|| reference.trim_start_matches(['#', '/']));
            let wanted: String = wanted.chars().map(accepted).take(64).collect();
            let wanted = if wanted.is_empty() { "Root".to_owned() } else { wanted };
            let is_taken = |name: &String| self.definitions.iter().any(|known| known.name == *name);
            let numbered = (2..).map(|number: usize| format!("{wanted}_{number}"));
            let name = std::iter::once(wanted.clone()).chain(numbered).find(|name| !is_taken(name));
            let name = name.unwrap_or(wanted);
            self.definitions.push(Definition { reference: reference.to_owned(), name, refers_to: Vec::new() });
            self.definitions.len() - 1
        });
        if let Some(current) = self.current {
            self.definitions[current].refers_to.push(position);
        }
        self.definitions[position].name.clone()
    }

    /// Returns whether a definition refers to itself, directly or through others.
    fn is_recursive(&self) -> bool {
        let mut is_finite = vec![false; self.definitions.len()];
        loop {
            let mut found = false;
            for (index, definition) in self.definitions.iter().enumerate() {
                if !is_finite[index] && definition.refers_to.iter().all(|other| is_finite[*other]) {
                    is_finite[index] = true;
                    found = true;
                }
            }
            if !found {
                return is_finite.contains(&false);
            }
        }
    }
}
