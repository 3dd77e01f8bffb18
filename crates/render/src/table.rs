//! Tables of text: columns of equal width, indented by two spaces.

use unicode_width::UnicodeWidthStr as _;

/// A column with its title.
#[derive(Debug, Clone, Copy)]
pub enum Column {
    /// Text.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

impl Column {
    const fn title(self) -> &'static str {
        match self {
            Self::Left(title) | Self::Right(title) => title,
        }
    }

    fn cell(self, text: &str, width: usize) -> String {
        let spaces = " ".repeat(width.saturating_sub(text.width()));
        match self {
            Self::Left(_) => format!("{text}{spaces}"),
            Self::Right(_) => format!("{spaces}{text}"),
        }
    }
}

/// The titles and the rows. Each row has a cell for each column.
pub fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    let width = |(at, column): (usize, &Column)| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width());
        cells.chain([column.title().width()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = columns.iter().enumerate().map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> =
            columns.iter().zip(&widths).zip(cells).map(|((column, width), cell)| column.cell(cell, *width)).collect();
        format!("  {}\n", cells.join("  ").trim_end())
    };
    let head = line(&mut columns.iter().map(|column| column.title()));
    let rows = rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
    head + &rows.collect::<String>()
}
