//! member list, add, promote, remove and update.

use serde_json::{Value, json};

use super::{Client, ClientError, table::table};

/// Shows the members.
pub fn members(client: &Client, as_json: bool) -> Result<String, ClientError> {
    let answer = client.read("/v3/cluster/member/list", &json!({}))?;
    Ok(told(&answer, as_json))
}

/// Adds a node, as a learner that is given a vote once it has caught up, or is not; and perhaps as a witness.
pub fn add_member(
    client: &Client,
    id: u64,
    address: &str,
    [is_learner, is_witness]: [bool; 2],
    as_json: bool,
) -> Result<String, ClientError> {
    let urls = [format!("http://{address}")];
    let request = json!({
        "ID": id.to_string(), "peerURLs": urls, "isLearner": is_learner, "isWitness": is_witness,
    });
    let answer = client.write("/v3/cluster/member/add", &request)?;
    Ok(told(&answer, as_json))
}

/// Gives a member a priority for election.
pub fn set_priority(client: &Client, id: u64, priority: u8, as_json: bool) -> Result<String, ClientError> {
    client.write("/raft/admin/membership", &json!({ "priorities": { id.to_string(): priority } }))?;
    members(client, as_json)
}

/// Promotes, removes or updates (to `address`) a member.
pub fn change_member(
    client: &Client,
    what: &str,
    id: u64,
    address: Option<&str>,
    as_json: bool,
) -> Result<String, ClientError> {
    let urls: Vec<String> = address.iter().map(|address| format!("http://{address}")).collect();
    let request = json!({ "ID": id.to_string(), "peerURLs": urls });
    let answer = client.write(&format!("/v3/cluster/member/{what}"), &request)?;
    Ok(told(&answer, as_json))
}

fn told(answer: &Value, as_json: bool) -> String {
    if as_json {
        return format!("{answer}\n");
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let rows: Vec<Vec<String>> = answer["members"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|member| {
            let vote = if member["isLearner"] == true { "learner" } else { "voter" };
            let holds = if member["isWitness"] == true { "log" } else { "all" };
            let priority = member["priority"].as_u64().unwrap_or(1).to_string();
            let urls = [&member["peerURLs"][0], &member["clientURLs"][0]].map(text);
            [vec![text(&member["ID"]), vote.to_owned(), holds.to_owned(), priority], urls.to_vec()].concat()
        })
        .collect();
    table(&["ID", "VOTE", "HOLDS", "PRIORITY", "PEERS REACH IT AT", "CLIENTS REACH IT AT"], &rows)
}
