//! What permitted installers bring, under the built-in policy, enforced: real pip, uv and dpkg install what real and
//! malicious packages hold. See `tests/README.md`.
//!
//! - `unknown`: an executable line that nobody knows; installers that are killed
//! - `customize`: `sitecustomize` and `usercustomize`, in all their forms and by way of path lines
//! - `namespaces`: setuptools' namespace lines, and what they load
//! - `forged`: the bytes of known files, brought by others than their owners
//! - `replicas`: malicious packages and programs that were found in the wild, with harmless payloads; `atomic`: the public
//!   tests of the technique
//! - `pair`: `x.pth` and `x.start`, with a real CPython 3.15
//! - `published`: packages as they are published, and the table of what became of them
//! - `arena`: the private root; `environment`, `guarded`, `attack`: what is in it, and what happens there; `planted`: the
//!   code of attackers
//! - `wheels`: wheels made on the spot; `material`: what is downloaded

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "what went wrong is said when it happens")]
#![allow(dead_code, reason = "some modules are shared with the other privileged tests")]

mod arena;
mod atomic;
mod attack;
mod customize;
mod environment;
mod forged;
mod guarded;
#[path = "../guard/harness.rs"]
mod harness;
mod material;
mod namespaces;
mod pair;
mod planted;
mod published;
mod replicas;
#[path = "../installers/root.rs"]
mod root;
#[path = "../guard/site.rs"]
mod site;
#[path = "../guard/sys.rs"]
mod sys;
mod unknown;
mod wheels;
