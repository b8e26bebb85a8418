//! The reference part of the book.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use super::schema::sections;
use crate::api::{Reason, words};

const WRITTEN_BY: &str = "<!-- Written by `make generate`. Do not edit. -->\n";

/// File name and text of one kind's page.
pub(super) fn kind_page(crd: &CustomResourceDefinition) -> (String, String) {
    let names = &crd.spec.names;
    let mut text = format!("{WRITTEN_BY}# {}\n", names.kind);
    // Writing to a String cannot fail, here and below.
    let short = names
        .short_names
        .iter()
        .flatten()
        .map(|n| format!("`{n}`"))
        .collect::<Vec<_>>()
        .join(", ");
    for version in &crd.spec.versions {
        let schema = serde_json::to_value(
            version
                .schema
                .as_ref()
                .and_then(|s| s.open_api_v3_schema.as_ref()),
        )
        .unwrap_or(Value::Null);
        let about = schema["description"].as_str().unwrap_or_default();
        let _ = writeln!(
            text,
            "\n{about}\n\n`apiVersion: {}/{}`, short name {short}.",
            crd.spec.group, version.name
        );
        let _ = writeln!(
            text,
            "An absent optional field stays absent in the stored object; the value in effect is in `status.effective`."
        );
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let _ = writeln!(text, "\n- `{}`", rule["rule"].as_str().unwrap_or_default());
        }
        for part in ["spec", "status"] {
            sections(&mut text, part, &schema["properties"][part]);
        }
    }
    (
        format!("{}.md", names.singular.as_deref().unwrap_or(&names.plural)),
        text,
    )
}

/// Every reason that a condition can have, with what to do.
pub(super) fn conditions_page() -> String {
    let mut text = format!(
        "{WRITTEN_BY}# Conditions\n\n## Verdicts, conditions, Argo CD health\n\n{}\n## Reasons\n\nThe same words stand in conditions (`kubectl describe`), events and \
         the operator's log. The condition's message names the field or peer, the value and the remedy of the case at hand.\n\
         \n| Reason | What happened | What to do |\n| --- | --- | --- |\n",
        crate::health::table_markdown()
    );
    for reason in Reason::ALL {
        let said = reason.text();
        let _ = writeln!(
            text,
            "| `{}` | {} | {} |",
            reason.as_str(),
            said.cause,
            said.remedy
        );
    }
    text.push_str(
        "\n## Other words\n\nThey stand in lists of the status, in metrics' label `reason` and in dead letters. `tributary explain WORD` knows \
         all of this page.\n\n| Word | In | What happened | What to do |\n| --- | --- | --- | --- |\n",
    );
    for word in words::WORDS {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            word.name, word.place, word.cause, word.remedy
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api;

    #[test]
    fn every_field_of_every_kind_has_a_description() {
        for (file, crd) in api::crds() {
            let (_, page) = kind_page(&crd);
            let bare: Vec<_> = page
                .lines()
                .filter(|l| l.starts_with("| `") && l.ends_with("|  |"))
                .collect();
            assert!(bare.is_empty(), "{file}: {bare:?}");
            assert!(
                page.contains("## spec\n") && page.contains("## status\n"),
                "{file}"
            );
        }
    }

    #[test]
    fn nested_lists_have_a_section_of_their_own() {
        let (file, page) = kind_page(&api::crds()[0].1);
        assert_eq!(file, "edgecluster.md");
        assert!(
            page.contains("## spec.listeners[].nodePort.brokers[]\n"),
            "{page}"
        );
        assert!(page.contains("| `brokers` | integer | yes |"), "{page}");
    }

    #[test]
    fn every_reason_has_a_row() {
        let page = conditions_page();
        for reason in Reason::ALL {
            assert!(page.contains(&format!("| `{}` |", reason.as_str())));
        }
    }
}
