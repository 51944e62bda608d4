//! The commands and their flags.

use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::{
    client::{self, Client, ClientError, Get},
    cluster::{self, Plan},
    logs,
    recover::{self, CONSENT},
    serve::{self, EXIT_REFUSED},
    settings::{self, KEYS, Settings, Sources},
    trace::{self, PrintError},
};

/// Runs the command that `arguments` name, and gives the process's exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command_line().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are errors to clap, but not to whoever asked for them.
            let refused = error.use_stderr();
            let _ = error.print();
            return if refused { ExitCode::from(EXIT_REFUSED) } else { ExitCode::SUCCESS };
        }
    };
    match matches.subcommand() {
        Some(("serve", flags)) => run_serve(flags),
        Some(("cluster", flags)) => cluster::run(&plan(flags)),
        Some(("recover", flags)) => run_recover(flags),
        Some(("trace", flags)) => print_traces(flags),
        Some(("check-config", flags)) => check_config(flags),
        Some(("print-config", flags)) => print_config(flags),
        Some((command, flags)) => run_client(command, flags),
        None => ExitCode::from(EXIT_REFUSED),
    }
}

/// All commands.
pub fn command_line() -> Command {
    Command::new("example-app")
        .about("A replicated key-value service that speaks the etcd v3 JSON API over HTTP")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            with_settings(Command::new("serve").about(
                "Run one node. Exit code 0: stopped in order; 1: refused; 70: failed; 75: not in order",
            ))
            .arg(switch("exit-with-parent", "Stop in order when standard input ends").hide(true)),
        )
        .subcommand(cluster_command())
        .subcommand(recover_command())
        .subcommand(with_settings(
            Command::new("check-config").about("Say what is wrong with the settings, all of it"),
        ))
        .subcommand(
            with_settings(Command::new("print-config").about("Show every setting, and where it comes from"))
                .arg(switch("reference", "Show every setting at its default, explained")),
        )
        .subcommand(with_endpoints(Command::new("status").about("Show what every node knows of itself")))
        .subcommand(with_endpoints(
            Command::new("events").about("Show what happens to every node named, as it happens"),
        ))
        .subcommand(trace_command())
        .subcommand(with_endpoints(
            Command::new("snapshot").about("Have each node named take a snapshot, and let go of its old log"),
        ))
        .subcommand(transfer_command())
        .subcommand(member_command())
        .subcommand(
            with_endpoints(Command::new("get").about("Read a key, or keys that begin alike"))
                .arg(Arg::new("key").required(true).help("The key"))
                .arg(switch("prefix", "Every key that begins with it"))
                .arg(switch("serializable", "From the asked node's own state, stale as it may be"))
                .arg(number("limit", "0", "The most keys; 0 for all"))
                .arg(number("revision", "0", "The revision to read at; 0 for the present")),
        )
        .subcommand(
            with_endpoints(Command::new("put").about("Set a key"))
                .arg(Arg::new("key").required(true).help("The key"))
                .arg(Arg::new("value").required(true).allow_hyphen_values(true).help("Its value")),
        )
        .subcommand(
            with_endpoints(Command::new("del").about("Delete a key, or keys that begin alike"))
                .arg(Arg::new("key").required(true).help("The key"))
                .arg(switch("prefix", "Every key that begins with it")),
        )
        .subcommand(
            with_endpoints(Command::new("compact").about("Forget what was before a revision")).arg(
                Arg::new("revision")
                    .required(true)
                    .value_parser(value_parser!(i64))
                    .help("The first revision that can still be read"),
            ),
        )
}

fn transfer_command() -> Command {
    let id = Arg::new("id").value_parser(value_parser!(u64).range(1..));
    with_endpoints(Command::new("transfer").about("Have the leader hand over"))
        .arg(id.help("To which node; left out: to the one that is furthest ahead"))
}

fn member_command() -> Command {
    let id =
        || Arg::new("id").required(true).value_parser(value_parser!(u64).range(1..)).help("The node's id");
    let address = || Arg::new("address").required(true).help("Where its peers reach it, as host:port");
    Command::new("member")
        .about("Show and change who belongs to the cluster")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_endpoints(Command::new("list").about("Show the members")))
        .subcommand(
            with_endpoints(Command::new("add").about("Add a node; start it with `serve --join`"))
                .arg(id())
                .arg(address())
                .arg(switch("learner", "Leave it without a vote, also when it has caught up"))
                .arg(switch("witness", "It votes and holds no keys; start it with `serve --join --witness`")),
        )
        .subcommand(
            with_endpoints(Command::new("priority").about("Say who stands for election first"))
                .arg(id())
                .arg(
                    Arg::new("priority")
                        .required(true)
                        .value_parser(value_parser!(u8))
                        .help("From 0, which never stands, to 255; 1 where nobody has said"),
                ),
        )
        .subcommand(
            with_endpoints(Command::new("promote").about("Give a learner that has caught up a vote"))
                .arg(id()),
        )
        .subcommand(with_endpoints(Command::new("remove").about("Remove a node")).arg(id()))
        .subcommand(
            with_endpoints(Command::new("update").about("Have a node be reached elsewhere"))
                .arg(id())
                .arg(address()),
        )
}

fn recover_command() -> Command {
    let data = Arg::new("data").long("data").required(true).value_parser(value_parser!(PathBuf));
    Command::new("recover")
        .about("Make a cluster of one node, when the majority is gone for good. READ THE BOOK FIRST")
        .arg(data.help("The folder of the node that is left; the node must not run"))
        .arg(switch("look", "Only say what the folder holds").conflicts_with(CONSENT))
        .arg(switch(CONSENT, "Do it"))
}

fn trace_command() -> Command {
    Command::new("trace")
        .about("Print what nodes have recorded (serve --trace FILE), merged by time")
        .arg(
            Arg::new("file")
                .required(true)
                .num_args(1..)
                .value_parser(value_parser!(PathBuf))
                .help("The files, one a node"),
        )
        .arg(switch("json", "The steps as they are in the files, for programs"))
}

fn cluster_command() -> Command {
    Command::new("cluster")
        .about("Run several nodes on this machine, each a process, and start again what dies")
        .arg(number("nodes", "3", "How many").value_parser(value_parser!(i64).range(1..=9)))
        .arg(
            Arg::new("data")
                .long("data")
                .default_value("data")
                .value_parser(value_parser!(PathBuf))
                .help("The folder; each node has one in it, kept between runs"),
        )
        .arg(
            number("base-port", "2379", "Node n listens at this port + 10 * (n - 1)")
                .value_parser(value_parser!(i64).range(1..=65_000)),
        )
        .arg(switch("fresh", "Delete the nodes' folders first"))
        .arg(switch("no-restart", "Leave dead what dies"))
        .arg(switch("trace", "Record every step of each node's core in a file `trace` in its folder"))
        .arg(switch("logs", "Show the nodes' logs instead of writing them to log.txt in their folders"))
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn number(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).default_value(default).value_parser(value_parser!(i64)).help(help)
}

fn with_settings(command: Command) -> Command {
    let file = Arg::new("config")
        .long("config")
        .value_parser(value_parser!(PathBuf))
        .help("A TOML file of settings");
    // The last of two flags that set the same wins.
    let command = command.arg(file).args_override_self(true);
    KEYS.iter().fold(command, |command, key| {
        let flag = Arg::new(key.name).long(key.name.replace('_', "-")).help(key.about);
        // A switch needs no value to be on.
        let is_switch = key.default == "false";
        command.arg(if is_switch { flag.num_args(0..=1).default_missing_value("true") } else { flag })
    })
}

fn with_endpoints(command: Command) -> Command {
    command
        .arg(
            Arg::new("endpoints")
                .long("endpoints")
                .value_delimiter(',')
                .default_value("127.0.0.1:2379,127.0.0.1:2389,127.0.0.1:2399")
                .help(
                    "The nodes, as host:port, parted by commas; the next is asked where one does not answer",
                ),
        )
        .arg(
            number("timeout", "6", "How long to wait for each node, in seconds")
                .value_parser(value_parser!(i64).range(1..)),
        )
        .arg(switch("json", "Answer in JSON, for programs"))
}

fn sources(flags: &ArgMatches) -> Sources {
    let mut sources = Sources::of_this_process();
    sources.file = flags.get_one::<PathBuf>("config").cloned();
    for key in KEYS {
        if let Some(value) = flags.get_one::<String>(key.name) {
            sources.flags.insert(key.name.to_owned(), value.clone());
        }
    }
    sources
}

fn load(flags: &ArgMatches) -> Result<Settings, ExitCode> {
    sources(flags).load().map_err(|error| {
        eprintln!("{error}");
        ExitCode::from(EXIT_REFUSED)
    })
}

fn run_serve(flags: &ArgMatches) -> ExitCode {
    let settings = match load(flags) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    logs::start(settings.node_id, &settings.log);
    #[cfg(target_os = "linux")]
    crate::scheduling::prefer_batches();
    actix_web::rt::System::new().block_on(serve::serve(&settings, flags.get_flag("exit-with-parent")))
}

fn run_recover(flags: &ArgMatches) -> ExitCode {
    let data = flags.get_one::<PathBuf>("data").cloned().unwrap_or_default();
    let is_wanted = flags.get_flag(CONSENT);
    let outcome = actix_web::rt::System::new().block_on(recover::recover(&data, is_wanted));
    let is_answered = is_wanted || flags.get_flag("look");
    match outcome {
        Ok(said) if is_answered => say(said),
        // Neither asked to look nor to do it: refused, with all that there is to know.
        Ok(said) => {
            eprint!("{said}");
            ExitCode::from(EXIT_REFUSED)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

fn check_config(flags: &ArgMatches) -> ExitCode {
    match load(flags) {
        Ok(settings) => say(format!("the configuration of node {} is sound\n", settings.node_id)),
        Err(code) => code,
    }
}

fn print_config(flags: &ArgMatches) -> ExitCode {
    if flags.get_flag("reference") {
        return say(settings::reference());
    }
    match sources(flags).describe() {
        Ok(text) => say(text),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

fn plan(flags: &ArgMatches) -> Plan {
    let number = |name| flags.get_one::<i64>(name).copied().unwrap_or_default();
    Plan {
        nodes: number("nodes").unsigned_abs(),
        data: flags.get_one::<PathBuf>("data").cloned().unwrap_or_default(),
        base_port: u16::try_from(number("base-port")).unwrap_or_default(),
        fresh: flags.get_flag("fresh"),
        restart: !flags.get_flag("no-restart"),
        logs: flags.get_flag("logs"),
        trace: flags.get_flag("trace"),
    }
}

fn print_traces(flags: &ArgMatches) -> ExitCode {
    let files: Vec<PathBuf> = flags.get_many::<PathBuf>("file").into_iter().flatten().cloned().collect();
    match trace::print(&files, flags.get_flag("json"), &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads it may have gone, which is no failure of ours.
        Err(PrintError::Write(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

fn run_client(command: &str, flags: &ArgMatches) -> ExitCode {
    // The flags of `member add` are those of its own command.
    let member = flags.subcommand().filter(|_| command == "member");
    let (command, flags) = member.unwrap_or((command, flags));
    let endpoints = flags.get_many::<String>("endpoints").into_iter().flatten().cloned();
    let seconds = flags.get_one::<i64>("timeout").copied().unwrap_or_default().unsigned_abs();
    let client = Client::new(endpoints, Duration::from_secs(seconds));
    if command == "events" {
        let listened = client::events(&client, flags.get_flag("json"), &mut std::io::stdout().lock());
        return listened.map_or_else(
            |error| {
                eprintln!("{error}");
                ExitCode::from(EXIT_REFUSED)
            },
            |()| ExitCode::SUCCESS,
        );
    }
    match ask(&client, command, flags) {
        Ok(answer) => say(answer),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

fn ask(client: &Client, command: &str, flags: &ArgMatches) -> Result<String, ClientError> {
    let text = |name| flags.get_one::<String>(name).cloned().unwrap_or_default();
    let number = |name| flags.get_one::<i64>(name).copied().unwrap_or_default();
    let id = || flags.get_one::<u64>("id").copied().unwrap_or_default();
    let as_json = flags.get_flag("json");
    match command {
        "get" => {
            let get = Get {
                key: text("key"),
                prefix: flags.get_flag("prefix"),
                limit: number("limit"),
                revision: number("revision"),
                serializable: flags.get_flag("serializable"),
            };
            client::get(client, &get, as_json)
        }
        "list" => client::members(client, as_json),
        "add" => {
            let kind = ["learner", "witness"].map(|name| flags.get_flag(name));
            client::add_member(client, id(), &text("address"), kind, as_json)
        }
        "priority" => {
            let priority = flags.get_one::<u8>("priority").copied().unwrap_or_default();
            client::set_priority(client, id(), priority, as_json)
        }
        "promote" | "remove" => client::change_member(client, command, id(), None, as_json),
        "update" => client::change_member(client, command, id(), Some(&text("address")), as_json),
        "put" => client::put(client, &text("key"), &text("value"), as_json),
        "del" => client::delete(client, &text("key"), flags.get_flag("prefix"), as_json),
        "compact" => client::compact(client, number("revision"), as_json),
        "snapshot" => client::snapshot(client, as_json),
        "transfer" => client::transfer(client, id(), as_json),
        _ => client::status(client, as_json),
    }
}

/// Writes to standard output. Whoever reads it may have gone, which is no failure of ours.
fn say(text: String) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command_line().debug_assert();
    }

    #[test]
    fn every_setting_is_a_flag() {
        let matches = command_line()
            .try_get_matches_from(["example-app", "serve", "--node-id", "4", "--heartbeat-interval-ms", "20"])
            .expect("both are flags");
        let (_, flags) = matches.subcommand().expect("there is one");
        let flags = sources(flags).flags;
        assert_eq!((flags["node_id"].as_str(), flags["heartbeat_interval_ms"].as_str()), ("4", "20"));
    }
}
