//! Containers and chroots: who unpacks an image, who writes inside of a container, and what the guard can tell of them.
//!
//! - `docker`: Docker's unpacker and `docker cp` are writers, what runs in a container is none; containerd's unpacker
//! - `guarded`: running containers are guarded from the host
//! - `on_host`: the guard itself as a container
//! - `podman`: the same for podman and buildah
//! - `namespaces`: pid namespaces and chroots, without an engine
//! - `engine`: a Docker engine of the test's own; `image`: what containers are made from; `rows`: their part of
//!   `docs/installers.md`
//!
//! The engines keep what they make below a directory of the test, which is bound over their own in a private mount
//! namespace. An engine that already runs on the machine notices nothing, and nothing is left when the test ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "a version that differs from the table's is said")]
#![allow(dead_code, reason = "the modules are shared with the other privileged tests")]

mod docker;
mod engine;
mod guarded;
#[path = "../guard/harness.rs"]
mod harness;
mod image;
mod namespaces;
mod on_host;
mod podman;
mod rows;
#[path = "../guard/site.rs"]
mod site;
#[path = "../guard/sys.rs"]
mod sys;
#[path = "../installers/table.rs"]
mod table;
