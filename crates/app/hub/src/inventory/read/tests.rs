use super::*;

fn entries(text: &str) -> Vec<Entry> {
    read(text).unwrap_or_else(|problems| panic!("{text:?}: {problems}")).entries
}

/// What is told, line by line.
fn problems(text: &str) -> Vec<String> {
    let problems = read(text).err().unwrap_or_else(|| panic!("{text:?} was accepted"));
    problems.to_string().lines().map(str::to_owned).collect()
}

/// Exactly one problem, and it says this.
fn refused(text: &str, said: &str) {
    let problems = problems(text);
    assert!(problems.len() == 1 && problems[0].contains(said), "{text:?}: {problems:#?}");
}

#[test]
fn csv_as_people_and_spreadsheets_write_it() {
    for text in [
        "name,group,notes\nlamp-1,lamps,\"a, \"\"b\"\"\"\n",
        "\u{feff}name,group,notes\r\nlamp-1,lamps,\"a, \"\"b\"\"\"\r\n",
        "\n\n notes , name , group \n\n\"a, \"\"b\"\"\",lamp-1,lamps",
    ] {
        let [entry] = entries(text).try_into().unwrap();
        let fields = Fields { group: Some("lamps".into()), notes: Some("a, \"b\"".into()), ..Fields::default() };
        assert_eq!((entry.name.as_str(), entry.kind, &entry.fields), ("lamp-1", None, &fields), "{text:?}");
    }
    let list = entries("name,kind,owner\na,gateway,\nb,,x\n");
    assert_eq!(list[0].kind, Some(Kind::Gateway));
    assert_eq!(list[0].fields.owner.as_deref(), Some(""), "an empty cell clears, a missing column does not");
    assert_eq!((list[1].kind, &list[1].fields.group), (None, &None));
}

#[test]
fn json_as_people_and_programs_write_it() {
    let list = entries(
        "[ {\"name\":\"lamp-1\",\n\"kind\":\"application\",\"notes\":\"a\\u0041\"} ,\n\n{\"name\":\"lamp-2\"}]\n",
    );
    assert_eq!((list[0].line, list[1].line), (1, 4));
    assert_eq!((list[0].kind, list[0].fields.notes.as_deref()), (Some(Kind::Application), Some("aA")));
    assert_eq!(list[1].fields, Fields::default());
    assert!(entries("[]").is_empty() && entries(" [\n] \n").is_empty());
}

#[test]
fn what_an_export_tells_beside_is_passed_over() {
    let list = read("name,state,last_seen,id\nlamp-1,retired,,anything\n").unwrap();
    assert_eq!(list.passed_over.iter().copied().collect::<Vec<_>>(), ["id", "last_seen", "state"]);
    assert_eq!(list.entries[0].fields, Fields::default());
}

#[test]
fn every_problem_is_told_with_line_and_column() {
    let long = "x".repeat(257);
    let text = format!(
        "name,kind,group,notes\nlamp/1,robot,,{long}\n\nlamp-1,device,a\nlamp-2,,\"a\tb\",\nlamp-3,,,\n,,,\nlamp-3,,,\n"
    );
    let told = problems(&text);
    let begins = [
        "line 2, name: `lamp/1` is not a valid name",
        "line 2, kind: `robot` is not one of",
        "line 2, notes: it must have at most 256 characters",
        "line 4: 3 cells; the header names 4 columns",
        "line 5, group: it must have at most 256 characters, and no control characters",
        "line 7, name: `` is not a valid name",
        "line 8, name: `lamp-3` stands on line 6 already",
    ];
    assert_eq!(told.len(), begins.len(), "{told:#?}");
    for (told, begin) in told.iter().zip(begins) {
        assert!(told.starts_with(begin), "{told} / {begin}");
    }
}

#[test]
fn a_header_that_cannot_be_used_is_refused() {
    refused("", "the file is empty");
    refused("\n\n", "the file is empty");
    refused("group,kind\nlamps,device\n", "line 1, name: the header has no such column");
    refused("name,name\na,b\n", "names a column twice");
    refused("name;group\na;b\n", "separated by commas");
    refused("name\tgroup\na\tb\n", "separated by commas");
    refused(&format!("name{}\n", ",x".repeat(100_000)), "names 100001 columns; there are 12");
    let page = problems("<!doctype html>\n<title>not a list</title>\n");
    assert!(page[0].contains("there is no column `<!doctype html>`; there are name, kind"), "{page:#?}");
    let image = problems("\u{89}PNG\r\n\u{1a}\n\0\0\0\rIHDR");
    assert!(image.iter().all(|line| !line.contains(char::is_control)), "{image:#?}");
}

/// A file that was cut off must not pass for a whole one.
#[test]
fn a_quotation_mark_that_is_not_closed_is_told() {
    refused("name,notes\nlamp-1,\"cut o", "line 2: a quotation mark is not closed");
    refused("name,notes\nlamp-1,5\" pipe\nlamp-2,x\n", "line 2: a quotation mark is not closed");
}

#[test]
fn json_of_another_shape_is_refused() {
    for (text, said) in [
        ("[", "line 1: the array is not closed"),
        ("[{\"name\":\"a\"}", "line 1: expected `,` or `]`"),
        ("[{\"name\":\"a\"},]", "line 1: "),
        ("[{\"name\":\"a\"}]\n{}", "something behind the array"),
        ("[{\"name\":\"a\",\"name\":\"b\"}]", "line 1, name: it stands there twice"),
        ("[\n{\"group\":\"b\"}]", "line 2, name: it is missing"),
        ("[{\"name\":\"a\"},\n7]", "line 2: invalid type: integer"),
        ("[{\"name\":7}]", "line 1, name: it must be a text"),
        ("[{\"name\":\"a\",\"notes\":null}]", "line 1, notes: it must be a text"),
        ("[{\"name\":\"a\",\"notes\":[[{}]]}]", "line 1, notes: it must be a text"),
        ("[{\"name\":\"a\",\"colour\":\"red\"}]", "there is no column `colour`"),
        ("[{\"name\":\"a\",\"notes\":\"\\u0007\"}]", "line 1, notes: it must have"),
        ("[{\"name\":\"a\"},\n{\"name\":\"a\"}]", "line 2, name: `a` stands on line 1 already"),
        ("[{\"name\":\"a\",\n\"notes\":}]", "line 2: "),
    ] {
        refused(text, said);
    }
    refused(&format!("[{{{}}}]", vec!["\"x\":\"\""; 33].join(",")), "at most 32 keys");
    refused(&format!("[{}", "[".repeat(200_000)), "line 1: ");
}

#[test]
fn size_and_rows_are_bounded() {
    refused(&"a".repeat(FILE_BYTES_MAX + 1), "more than 33554432 bytes; split it");
    let rows = |count: usize| (0..count).fold(String::from("name\n"), |text, at| text + &format!("d{at}\n"));
    assert_eq!(entries(&rows(FILE_ROWS_MAX)).len(), FILE_ROWS_MAX);
    refused(&rows(FILE_ROWS_MAX + 1), "line 100002: the file has more than 100000 identities; split it");
    refused(&rows(FILE_ROWS_MAX + 5), "split it");
    let objects: Vec<_> = (0..=FILE_ROWS_MAX).map(|at| format!("{{\"name\":\"d{at}\"}}")).collect();
    refused(&format!("[{}]", objects.join(",")), "more than 100000 identities");
}
