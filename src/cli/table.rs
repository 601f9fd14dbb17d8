use std::fmt;

/// Rows of `N` columns that line up: two blanks apart, numbers at the right.
///
/// A column in which no row has anything is left out.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[String; N]>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    Text(&'static str),
    Number(&'static str),
}

impl<const N: usize> Table<N> {
    pub(super) fn new(columns: [Column; N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        cells.chain([self.columns[column].name().len()]).max().unwrap_or_default()
    }

    fn is_shown(&self, column: usize) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|row| !row[column].is_empty())
    }
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Text(name) | Self::Number(name) => name,
        }
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<_> =
            (0..N).filter(|column| self.is_shown(*column)).map(|column| (column, self.width(column))).collect();
        let line = |cell: &dyn Fn(usize) -> String| {
            let cells = shown.iter().map(|(column, width)| match self.columns[*column] {
                Column::Text(_) => format!("{:width$}", cell(*column)),
                Column::Number(_) => format!("{:>width$}", cell(*column)),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        f.write_str(&line(&|column| self.columns[column].name().to_owned()))?;
        self.rows.iter().try_for_each(|row| write!(f, "\n{}", line(&|column| row[column].clone())))
    }
}

/// A number, or a dash where there is none.
pub(super) fn or_dash(number: Option<impl fmt::Display>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[[&str; 4]]) -> String {
        let columns = [Column::Text("topic"), Column::Number("partition"), Column::Number("lag"), Column::Text("note")];
        let mut table = Table::new(columns);
        rows.iter().for_each(|row| table.row(row.map(str::to_owned)));
        table.to_string()
    }

    #[test]
    fn columns_line_up_whatever_is_longer_the_name_or_what_stands_below() {
        assert_eq!(
            table(&[["a-long-topic", "0", "1234567", "a note"], ["b", "10", "-", ""]]),
            "topic         partition      lag  note\n\
             a-long-topic          0  1234567  a note\n\
             b                    10        -"
        );
    }

    #[test]
    fn a_column_without_anything_is_left_out_but_not_of_a_table_without_rows() {
        assert_eq!(table(&[["t", "0", "1", ""]]), "topic  partition  lag\nt              0    1");
        assert_eq!(table(&[]), "topic  partition  lag  note");
    }
}
