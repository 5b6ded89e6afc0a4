//! How a server describes itself: `/openapi.json` (OpenAPI 3.1), made from the routes and their types, with what the
//! attributes beside them cannot say.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;

/// The routes together with `/openapi.json`.
pub fn with_openapi_json<S: Clone + Send + Sync + 'static>(routes: OpenApiRouter<S>, state: S) -> Router {
    let (router, api) = routes.split_for_parts();
    let api = serde_json::to_value(api).expect("the description is made of plain values");
    let json = finished(api).to_string();
    let openapi = get(|| async move { ([(CONTENT_TYPE, "application/json")], json) });
    router.route("/openapi.json", openapi).with_state(state)
}

fn finished(mut api: Value) -> Value {
    api["openapi"] = json!("3.1.0");
    for responses in operations(&mut api).filter_map(|operation| operation.get_mut("responses")) {
        type_problems(responses);
    }
    if let Some(schemas) = api.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        join_variants(schemas);
    }
    add_credentials(&mut api);
    api
}

fn operations(api: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = api.get_mut("paths").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
    paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut).filter(|operation| operation.is_object())
}

/// Problems have a media type of their own.
fn type_problems(responses: &mut Value) {
    let problems = responses.pointer_mut("/default/content").and_then(Value::as_object_mut);
    if let Some(content) = problems
        && let Some(problem) = content.remove("application/json")
    {
        content.insert("application/problem+json".to_owned(), problem);
    }
}

/// A variant that is a struct and the tag: one object with the fields of both, for each of two that allow no other
/// fields forbids the other's.
fn join_variants(schemas: &mut Map<String, Value>) {
    let known = schemas.clone();
    let variants =
        schemas.values_mut().filter_map(|schema| schema.get_mut("oneOf")?.as_array_mut()).flatten();
    for variant in variants {
        let Some([named, tag]) = variant.get("allOf").and_then(Value::as_array).map(Vec::as_slice) else {
            continue;
        };
        let name = named["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
        let Some(mut joined) = name.and_then(|name| known.get(name)).cloned() else { continue };
        if let (Some(fields), Some(more)) =
            (joined["properties"].as_object_mut(), tag["properties"].as_object())
        {
            fields.extend(more.clone());
        }
        if let (Some(required), Some(more)) = (joined["required"].as_array_mut(), tag["required"].as_array())
        {
            required.extend(more.clone());
        }
        joined["description"] = variant["description"].clone();
        *variant = joined;
    }
}

/// The kinds of credential that the routes name.
fn add_credentials(api: &mut Value) {
    let bearer = |what: &str| json!({ "type": "http", "scheme": "bearer", "description": what });
    let field = |place: &str, name: &str, what: &str| json!({ "type": "apiKey", "in": place, "name": name, "description": what });
    let all = json!({
        "token": bearer("The token of an invite."),
        "grant": bearer("A PASETO v4.public token that the tracker signed."),
        "access": bearer("The access token of a share, derived from its link's secret."),
        "owner": field("header", "Owner-Token", "A PASETO v4.public token that the share's key signed, for this act at this server."),
        "certificate": { "type": "mutualTLS", "description": "The certificate of a peer or a tracker." },
        "cookie": field("cookie", "parcelry_session", "What a browser has that signed in."),
        "secret": field("header", "Session-Secret", "What only the page has that signed in."),
    });
    let used: Vec<String> = operations(api)
        .filter_map(|operation| operation.get("security")?.as_array())
        .flatten()
        .filter_map(Value::as_object)
        .flat_map(Map::keys)
        .cloned()
        .collect();
    let used: Map<String, Value> = used.into_iter().map(|name| (name.clone(), all[&name].clone())).collect();
    api["components"]["securitySchemes"] = Value::Object(used);
}
