//! Tables without lines: columns that say nothing are left out, and the last one wraps.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A table as text; each line ends with a newline. Cells of numbers are given with the alignment of their column.
pub(crate) fn render(columns: &[(&str, CellAlignment)], rows: &[Vec<String>], width: Option<u16>) -> String {
    let used: Vec<usize> = (0..columns.len())
        .filter(|i| rows.iter().any(|row| row.get(*i).is_some_and(|cell| !cell.is_empty())))
        .collect();
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    match width {
        // Narrower than this nothing can be read anyway, and the table would break every word.
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.max(40)),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table.set_header(used.iter().filter_map(|i| columns.get(*i)).map(|(title, _)| *title));
    for row in rows {
        table.add_row(used.iter().filter_map(|i| row.get(*i)));
    }
    for (position, i) in used.iter().enumerate() {
        let (Some(column), Some((_, alignment))) = (table.column_mut(position), columns.get(*i)) else { continue };
        column.set_padding((0, 2)).set_cell_alignment(*alignment);
        // Only the last column has text that may be long.
        if i + 1 < columns.len() {
            column.set_constraint(comfy_table::ColumnConstraint::ContentWidth);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
