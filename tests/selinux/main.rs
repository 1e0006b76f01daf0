//! The SELinux module: compiled, linked into a copy of Debian's policy, asked what it grants; and, behind
//! `PTHGUARD_SELINUX_VM=1`, enforced in a virtual machine in which the guard does its work.
//!
//! - `module`: from `selinux/` to a policy in a private store
//! - `rules`: what may be in it, as tables, asked with sesearch
//! - `machine`: a Debian root, labelled, booted; `guest.sh` is what happens in there

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "a test that is left out says so")]

mod machine;
mod module;
mod rules;
