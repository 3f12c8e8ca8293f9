//! Comma-separated values as RFC 4180 describes them: quoted fields may hold commas, line breaks and doubled quotes.

/// The records of a text; empty lines are none.
pub(crate) fn records(text: &str) -> Vec<Vec<String>> {
    let mut reader = Reader::default();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if reader.quoted && chars.peek() == Some(&'"') => {
                chars.next();
                reader.field.push('"');
            }
            '"' => reader.quoted = !reader.quoted,
            ',' if !reader.quoted => reader.end_field(),
            '\r' if !reader.quoted => {}
            '\n' if !reader.quoted => reader.end_record(),
            c => reader.field.push(c),
        }
    }
    reader.end_record();
    reader.records
}

#[derive(Default)]
struct Reader {
    records: Vec<Vec<String>>,
    record: Vec<String>,
    field: String,
    quoted: bool,
}

impl Reader {
    fn end_field(&mut self) {
        self.record.push(std::mem::take(&mut self.field));
    }

    fn end_record(&mut self) {
        if self.record.is_empty() && self.field.is_empty() {
            return;
        }
        self.end_field();
        self.records.push(std::mem::take(&mut self.record));
    }
}

#[cfg(test)]
mod tests {
    use super::records;

    #[test]
    fn plain_quoted_and_doubled() {
        let read = records("a,b\r\n\"1,2\",\"say \"\"hi\"\"\"\n\n\"two\nlines\",\n");
        assert_eq!(read, [["a", "b"], ["1,2", "say \"hi\""], ["two\nlines", ""]]);
        assert!(records("").is_empty());
        assert_eq!(records("last,line"), [["last", "line"]]);
    }
}
