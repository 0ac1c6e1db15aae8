//! The server and its clients, which are processes of their own: a test or more for each row of the list of what must be there, and
//! what hostile clients do. The row is where the test's name begins.
//!
//! Needs root and FUSE with passthrough; each test says so and is skipped where they are missing. Clients are this program once
//! more, playing one of [`ROLES`] with system calls and stores alone.

mod calls;
mod child;
mod domain;
mod entries;
mod exec;
mod files;
mod fork;
mod greedy;
mod hostile;
mod lab;
mod many;
mod memory;
mod noiommu;
mod queue;
mod server;
mod share;
#[path = "../space/mod.rs"]
mod space;
mod steps;
mod sva;
mod waiting;

use child::{Role, Stage};

/// What this program can do as another's client.
const ROLES: &[&[(&str, Role)]] = &[
    calls::ROLES,
    domain::ROLES,
    exec::ROLES,
    files::ROLES,
    fork::ROLES,
    greedy::ROLES,
    hostile::ROLES,
    many::ROLES,
    noiommu::ROLES,
    server::ROLES,
    share::ROLES,
    steps::ROLES,
    sva::ROLES,
    waiting::ROLES,
];

/// Not a test, but a client of another test, in a process of its own.
#[test]
fn plays_a_role_in_another_test() {
    let Some((name, stage)) = Stage::from_environment() else { return };
    let role = ROLES.iter().copied().flatten().find(|(known, _)| *known == name);
    role.expect("a role that is known").1(&stage);
}
