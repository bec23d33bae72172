use super::*;

#[test]
fn the_median_is_the_middle_whatever_the_order() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    assert_eq!(median(&[7.0]), 7.0);
    assert_eq!(median(&[]), 0.0);
}

#[test]
fn the_verdict_is_that_of_the_median_and_a_limit_is_within() {
    let line = || Line::new("x", "ms", vec![1.0, 5.0, 100.0]);
    assert_eq!(line().spread, (1.0, 100.0));
    for (target, verdict) in [
        (Target::AtMost(5.0), Verdict::Reached),
        (Target::AtMost(4.9), Verdict::Missed),
        (Target::AtLeast(5.0), Verdict::Reached),
        (Target::AtLeast(5.1), Verdict::Missed),
    ] {
        assert_eq!(line().with_target(target).verdict, Some(verdict), "{target:?}");
    }
    assert_eq!(line().verdict, None);
}

#[test]
fn numbers_are_short_and_grouped() {
    for (value, text) in [
        (0.0, "0"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1_234.5, "1,234"),
        (1_234_567.0, "1,234,567"),
        (-0.5, "-0.50"),
        (-1_500.0, "-1,500"),
    ] {
        assert_eq!(number(value), text);
    }
}

#[test]
fn the_table_has_a_line_for_each_figure_with_its_verdict() {
    let report = Report {
        title: "events".to_owned(),
        facts: vec![("date", "today".to_owned())],
        lines: vec![
            Line::new("cost", "µs/event", vec![2.0, 4.0]).with_target(Target::AtMost(2.5)),
            Line::new("floor", "µs/event", vec![2.0]),
        ],
        notes: vec!["A note.".to_owned()],
    };
    let table = report.table();
    let cost = table
        .lines()
        .find(|line| line.starts_with("cost"))
        .expect("a line");
    assert!(
        cost.contains("3.00") && cost.contains("2.00 … 4.00") && cost.ends_with("≤ 2.50 missed"),
        "{cost}"
    );
    let floor = table
        .lines()
        .find(|line| line.starts_with("floor"))
        .expect("a line");
    assert!(floor.ends_with("µs/event"), "{floor}");
    assert!(table.ends_with("A note.\n"));
}

#[test]
fn tables_are_markdown_that_a_page_can_take() {
    let report = Report {
        title: "events".to_owned(),
        facts: vec![("date", "today".to_owned())],
        lines: vec![Line::new("cost", "µs", vec![2.0, 4.0]).with_target(Target::AtMost(2.5))],
        notes: Vec::new(),
    };
    let markdown = report.markdown();
    assert!(
        markdown.contains("| cost | 3.00 | 2.00 … 4.00 | µs | ≤ 2.50 missed |"),
        "{markdown}"
    );
    let mut table = Table::new("hoard".to_owned(), &["shards", "CPU ms/s"]);
    table.rows = vec![vec![1.0, 2.5], vec![200.0, 1_234.0]];
    let markdown = table.markdown();
    let rows: Vec<&str> = markdown.lines().skip(2).collect();
    assert_eq!(
        rows,
        [
            "| shards | CPU ms/s |",
            "| -----: | -------: |",
            "|   1.00 |     2.50 |",
            "|    200 |    1,234 |"
        ]
    );
}
