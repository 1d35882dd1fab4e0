//! `switchboard export`: writes a table of the registry to a CSV file, on the server's machine.

use clap::Args;
use jiff::tz::TimeZone;

use super::{
    Outcome, UsageError,
    exchange::{ExchangeFlags, with_exchange},
    terminal,
    units::{DayEnd, InvalidTime, parse_time, rfc3339},
};
use crate::{
    admin::{AdminReply, AdminRequest},
    net::now,
    registry::{ExportRequest, ExportTable},
    time::Wall,
};

const EXAMPLES: &str = "\
Examples:
  switchboard export                                    clients_YYYY-MM-DD.csv
  switchboard export sessions --from 2026-11-01 --to 2026-11-30
  switchboard export events --from 2026-11-22T14:30:00Z --file incident.csv

The file is written on the server's machine, into the folder of its parameter export_directory. Times without an offset
are local times of this machine.";

#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Flags {
    /// clients, sessions or events
    #[arg(value_name = "TABLE", default_value = "clients")]
    table: ExportTable,
    /// File name, without folders [default: TABLE_YYYY-MM-DD.csv]
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    /// Only rows that touch the time from here on: RFC 3339, a local time, or a date (from its begin)
    #[arg(long, value_name = "TIME", value_parser = parse_from)]
    from: Option<Wall>,
    /// Only rows that touch the time up to here: RFC 3339, a local time, or a date (to its end)
    #[arg(long, value_name = "TIME", value_parser = parse_to)]
    to: Option<Wall>,
    /// Replace a file of that name
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    exchange: ExchangeFlags,
}

pub(super) fn run(flags: &Flags) -> anyhow::Result<Outcome> {
    let request = flags.request()?;
    with_exchange(&flags.exchange, async |exchange| {
        if let AdminReply::Exported(exported) = exchange.ask(AdminRequest::Export(request)).await? {
            let rows = if exported.rows == 1 { "1 row".to_owned() } else { format!("{} rows", exported.rows) };
            terminal::print_line(&format!("wrote {rows} to {}", exported.path.display()))?;
        }
        Ok(Outcome::Fine)
    })
}

impl Flags {
    fn request(&self) -> Result<ExportRequest, UsageError> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from > to
        {
            return Err(UsageError(format!(
                "--from {} is later than --to {}, so no row could be in between; exchange them",
                rfc3339(from),
                rfc3339(to)
            )));
        }
        Ok(ExportRequest {
            table: self.table,
            file_name: self.file.clone().unwrap_or_default(),
            start: self.from,
            end: self.to,
            overwrite: self.overwrite,
            now: now().wall,
        })
    }
}

fn parse_from(text: &str) -> Result<Wall, InvalidTime> {
    parse_time(text, DayEnd::Begin, &TimeZone::system())
}

fn parse_to(text: &str) -> Result<Wall, InvalidTime> {
    parse_time(text, DayEnd::End, &TimeZone::system())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Export {
        #[command(flatten)]
        flags: Flags,
    }

    fn request(line: &str) -> Result<ExportRequest, UsageError> {
        Export::try_parse_from(line.split(' ')).unwrap().flags.request()
    }

    #[test]
    fn without_anything_it_is_every_client() {
        let request = request("export").unwrap();
        assert_eq!((request.table, request.file_name.as_str()), (ExportTable::Clients, ""));
        assert_eq!((request.start, request.end, request.overwrite), (None, None, false));
    }

    #[test]
    fn every_flag_is_read() {
        let line = "export events --file e.csv --from 2026-11-22T14:30:00Z --to 2026-11-22T15:00:00Z --overwrite";
        let request = request(line).unwrap();
        assert_eq!(
            (request.table, request.file_name.as_str(), request.overwrite),
            (ExportTable::Events, "e.csv", true)
        );
        assert_eq!(request.end.unwrap().nanos_since(request.start.unwrap()), 1_800_000_000_000);
    }

    #[test]
    fn one_date_is_the_whole_day_and_a_time_that_runs_backwards_is_refused() {
        let day = request("export --from 2026-11-22 --to 2026-11-22").unwrap();
        assert!(day.end.unwrap().nanos_since(day.start.unwrap()) > 22 * 3_600_000_000_000);
        let message = request("export --from 2026-11-23 --to 2026-11-22").unwrap_err().to_string();
        assert!(message.contains("is later than --to") && message.contains("exchange them"), "{message}");
    }
}
