use std::io::Read;

use anyhow::Context;
use ruzstd::decoding::StreamingDecoder;

/// Flights that left New York City in January 2013 (nycflights13, CC0).
const JANUARY_2013: &[u8] = include_bytes!("../../../examples/data/flights-2013-01.csv.zst");

/// One row of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    /// The row as it stands in the file, without its line end: the record's value.
    pub(super) line: Vec<u8>,
    /// The aircraft: the record's key.
    pub(super) tailnum: String,
    pub(super) carrier: String,
    /// Minutes late on arrival; none for a flight that did not arrive.
    pub(super) arr_delay: Option<i64>,
}

/// The flights that are compiled in, in the file's order.
pub(super) fn january_2013() -> anyhow::Result<Vec<Flight>> {
    let mut csv = Vec::new();
    StreamingDecoder::new(JANUARY_2013)
        .map_err(anyhow::Error::from)
        .and_then(|mut file| Ok(file.read_to_end(&mut csv)?))
        .context("the compiled-in flights cannot be decompressed")?;
    parse(&csv).context("the compiled-in flights cannot be read")
}

fn parse(csv: &[u8]) -> anyhow::Result<Vec<Flight>> {
    let mut reader = csv::Reader::from_reader(csv);
    let header = reader.headers()?;
    let column = |name: &str| {
        header.iter().position(|column| column == name).with_context(|| format!("there is no column {name}"))
    };
    let (tailnum, carrier) = (column("tailnum")?, column("carrier")?);
    let arr_delay = column("arr_delay")?;

    let mut flights = Vec::new();
    let mut row = csv::StringRecord::new();
    loop {
        let start = offset(reader.position())?;
        if !reader.read_record(&mut row)? {
            return Ok(flights);
        }
        // The bytes between two positions, and not the fields put together again, which would lose the quotes.
        let line = &csv[start..offset(reader.position())?];
        flights.push(Flight {
            line: line.strip_suffix(b"\n").unwrap_or(line).to_vec(),
            tailnum: row[tailnum].to_owned(),
            carrier: row[carrier].to_owned(),
            arr_delay: match &row[arr_delay] {
                "" | "NA" => None,
                minutes => Some(
                    minutes.parse().with_context(|| format!("arr_delay {minutes:?} in line {}", flights.len() + 2))?,
                ),
            },
        });
    }
}

fn offset(position: &csv::Position) -> anyhow::Result<usize> {
    Ok(usize::try_from(position.byte())?)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_compiled_in_file_is_read_row_by_row() {
        let flights = january_2013().unwrap();
        assert_eq!(flights.len(), 27_004);
        assert_eq!(
            flights[0],
            Flight {
                line: b"2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z"
                    .to_vec(),
                tailnum: "N14228".to_owned(),
                carrier: "UA".to_owned(),
                arr_delay: Some(11),
            }
        );
        assert!(flights.iter().all(|flight| !flight.line.contains(&b'\n')));
    }

    #[test]
    fn no_two_rows_are_alike_so_a_row_identifies_its_record() {
        let flights = january_2013().unwrap();
        let lines: HashSet<&[u8]> = flights.iter().map(|flight| &*flight.line).collect();
        assert_eq!(lines.len(), flights.len());
    }

    #[test]
    fn quotes_belong_to_the_line_and_not_to_the_key() {
        let flights = parse(b"carrier,tailnum,arr_delay\nAA,\"N1,2\",NA\nBB,N3,-4").unwrap();
        assert_eq!(flights[0].line, b"AA,\"N1,2\",NA");
        assert_eq!(flights[0].tailnum, "N1,2");
        assert_eq!(flights[0].arr_delay, None);
        assert_eq!(flights[1].line, b"BB,N3,-4");
        assert_eq!(flights[1].arr_delay, Some(-4));
    }

    #[test]
    fn a_file_that_is_another_is_refused_by_name() {
        let error = parse(b"carrier,arr_delay\nAA,1\n").unwrap_err();
        assert!(error.to_string().contains("tailnum"));
        let error = parse(b"carrier,tailnum,arr_delay\nAA,N1,late\n").unwrap_err();
        assert!(error.to_string().contains("\"late\" in line 2"));
    }
}
