//! Names of variables and where they come from.

use comfy_table::CellAlignment::Left;
use svd_api::EnvReply;

use super::{Look, table};
use crate::text;

/// A table for all processes.
pub(crate) fn render(replies: &[EnvReply], look: &Look) -> String {
    let rows: Vec<Vec<String>> = replies
        .iter()
        .flat_map(|reply| {
            reply.variables.iter().map(|variable| {
                [&reply.process, &variable.name, &variable.source].map(|cell| text::plain(cell).into_owned()).to_vec()
            })
        })
        .collect();
    if rows.is_empty() {
        return "no variables\n".to_owned();
    }
    table::render(&[("PROCESS", Left), ("VARIABLE", Left), ("FROM", Left)], &rows, look.width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::Paint;
    use svd_api::EnvVariable;

    #[test]
    fn names_and_sources_are_listed_for_each_process() {
        let variable = |name: &str, source: &str| EnvVariable { name: name.to_owned(), source: source.to_owned() };
        let reply =
            EnvReply { process: "web".to_owned(), variables: vec![variable("DB", "config"), variable("PORT", "svd")] };
        let look = Look { now: "2026-11-23T14:00:00Z[UTC]".parse().unwrap(), paint: Paint::Plain, width: None };
        assert_eq!(
            render(&[reply], &look),
            "PROCESS  VARIABLE  FROM\nweb      DB        config\nweb      PORT      svd\n"
        );
        assert_eq!(render(&[], &look), "no variables\n");
    }
}
