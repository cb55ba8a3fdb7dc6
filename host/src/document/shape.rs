//! Which options a document may have and of what type each is, collected from the very calls that read
//! one: the schema of a format cannot fall behind its reader.

use serde_json::{Map, Value, json};

/// What an option must be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// True or false.
    Flag,
    /// A whole number within bounds.
    Whole(f64, f64),
    /// A number, within bounds where there are some.
    Number(Option<(f64, f64)>),
    /// Text.
    Text,
    /// A list of texts.
    Texts,
    /// One of several words.
    Word(Vec<String>),
    /// A list of several of several words.
    Words(Vec<String>),
    /// A list of numbers.
    Numbers,
    /// Text, or a list of numbers.
    TextOrNumbers,
    /// A number within bounds, or a list of the lowest and the highest.
    Bounds(f64, f64),
    /// A table with options of its own.
    Table,
    /// A list of such tables.
    Tables,
    /// Such a table, or a list of them.
    TableOrTables,
    /// A list of texts and of such tables.
    TextsOrTables,
    /// A table whose names are free, with true or false, numbers, texts, or lists of whole numbers or of
    /// texts.
    Values,
    /// The same, or `{ file = "PATH" }` for the text of a file.
    ValuesOrFiles,
    /// A table whose names are free, with text or lists of numbers.
    Series,
}

/// An option that a reader asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    /// The table that it is in: names joined by dots, none at the top.
    pub(crate) table: String,
    /// Its name.
    pub(crate) name: &'static str,
    /// What it must be.
    pub(crate) shape: Shape,
    /// What would be right, for a person.
    pub(crate) right: String,
}

/// A JSON Schema of a document with these options. Names that are not in it are mistakes.
pub(crate) fn schema(title: &str, options: &[Asked]) -> Value {
    let mut schema = table(options, "");
    schema.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("title".to_owned(), json!(title));
    Value::Object(schema)
}

fn table(options: &[Asked], path: &str) -> Map<String, Value> {
    let mut properties = Map::new();
    for asked in options.iter().filter(|asked| asked.table == path) {
        let inside = super::join(path, asked.name);
        let mut of = of_shape(&asked.shape, || Value::Object(table(options, &inside)));
        if !asked.right.is_empty()
            && let Some(of) = of.as_object_mut()
        {
            of.insert("description".to_owned(), json!(asked.right));
        }
        properties.insert(asked.name.to_owned(), of);
    }
    let mut all = Map::new();
    all.insert("type".to_owned(), json!("object"));
    all.insert("additionalProperties".to_owned(), json!(false));
    all.insert("properties".to_owned(), Value::Object(properties));
    all
}

fn of_shape(shape: &Shape, inside: impl Fn() -> Value) -> Value {
    let text = || json!({ "type": "string", "minLength": 1 });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let number =
        |least: f64, most: f64| json!({ "type": "number", "minimum": least, "maximum": most });
    let value = || {
        json!({ "anyOf": [
            { "type": ["boolean", "number", "string"] },
            list(json!({ "type": "integer" })),
            list(json!({ "type": "string" })),
        ] })
    };
    match shape {
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Whole(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Shape::Number(Some((least, most))) => number(*least, *most),
        Shape::Number(None) => json!({ "type": "number" }),
        Shape::Text => text(),
        Shape::Texts => list(json!({ "type": "string" })),
        Shape::Word(words) => json!({ "enum": words }),
        Shape::Words(words) => list(json!({ "enum": words })),
        Shape::Numbers => list(json!({ "type": "number" })),
        Shape::TextOrNumbers => json!({ "anyOf": [text(), list(json!({ "type": "number" }))] }),
        Shape::Bounds(least, most) => {
            let pair = json!({
                "type": "array", "items": number(*least, *most), "minItems": 2, "maxItems": 2
            });
            json!({ "anyOf": [number(*least, *most), pair] })
        }
        Shape::Table => inside(),
        Shape::Tables => list(inside()),
        Shape::TableOrTables => json!({ "anyOf": [inside(), list(inside())] }),
        Shape::TextsOrTables => list(json!({ "anyOf": [text(), inside()] })),
        Shape::Values => json!({ "type": "object", "additionalProperties": value() }),
        Shape::ValuesOrFiles => json!({
            "type": "object",
            "additionalProperties": { "anyOf": [value(), {
                "type": "object",
                "properties": { "file": text() },
                "required": ["file"],
                "additionalProperties": false,
            }] },
        }),
        Shape::Series => json!({
            "type": "object",
            "additionalProperties": of_shape(&Shape::TextOrNumbers, inside),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_has_what_the_reader_asks_for() {
        let options = crate::document::options(|root| {
            root.text("name", "a name");
            root.tables("items", |item| {
                item.whole("after_ms", 5_u64, 0..=9, 0..=9);
                item.table("facts", crate::document::settings);
            });
        });
        let schema = schema("a thing", &options);
        assert_eq!(schema["properties"]["name"]["description"], "a name");
        let item = &schema["properties"]["items"]["items"];
        assert_eq!(item["additionalProperties"], false);
        assert_eq!(item["properties"]["after_ms"]["maximum"], 9.0);
        let fact = &item["properties"]["facts"]["additionalProperties"];
        assert!(fact["anyOf"].is_array(), "{schema}");
    }
}
