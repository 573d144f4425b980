//! A table for people: columns aligned, numbers to the right.

/// Renders a header and rows; columns are as wide as their widest cell.
pub fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let columns: Vec<Column> =
        header.iter().enumerate().map(|(at, title)| Column::new(at, title, rows)).collect();
    let rule = columns.iter().map(|column| "-".repeat(column.width)).collect::<Vec<_>>().join("  ");
    let mut out = line(&columns, header.iter().copied());
    out.push_str(&rule);
    out.push('\n');
    for row in rows {
        out.push_str(&line(&columns, row.iter().map(String::as_str)));
    }
    out
}

struct Column {
    width: usize,
    numeric: bool,
}

impl Column {
    fn new(at: usize, title: &str, rows: &[Vec<String>]) -> Self {
        let cells = || rows.iter().filter_map(|row| row.get(at));
        let width =
            cells().map(|cell| cell.chars().count()).chain([title.chars().count()]).max().unwrap_or(0);
        // A dash stands for "no number here" and keeps its column numeric.
        let numeric = cells().all(|cell| cell == "-" || cell.parse::<f64>().is_ok());
        Self { width, numeric }
    }
}

fn line<'a>(columns: &[Column], cells: impl Iterator<Item = &'a str>) -> String {
    let padded = columns.iter().zip(cells).map(|(column, cell)| {
        let width = column.width;
        if column.numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    });
    let mut line = padded.collect::<Vec<_>>().join("  ").trim_end().to_owned();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_left_and_numbers_right() {
        let rows = [vec!["hyper-mem".to_owned(), "332".to_owned()], vec!["url".to_owned(), "-".to_owned()]];
        let expected = "target     passed\n---------  ------\nhyper-mem     332\nurl             -\n";
        assert_eq!(render(&["target", "passed"], &rows), expected);
    }
}
