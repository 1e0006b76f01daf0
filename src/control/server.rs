//! The daemon's end: one thread, one connection at a time, each with little time.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{Shutdown, shutdown};

use super::desk::{Approved, Desk, HeldFile, Refusal, Why};
use super::peer::Peer;
use super::protocol::{Answer, MAX_REQUEST, Page, Request, from_line, to_line};
use super::socket::{StateDir, read_line, write_line};
use crate::audit::Audit;

/// A request must have come, and its answer have been taken, within this time each: others wait behind it.
const TURN: Duration = Duration::from_secs(2);
/// How long somebody is listened to whose request is not even read.
const BRUSH_OFF: Duration = Duration::from_millis(100);
/// How long after an accept(2) that fails for want of descriptors the next one is tried.
const BREATH: Duration = Duration::from_millis(200);

/// The control socket, open.
#[derive(Debug)]
pub struct Server {
    state: Arc<StateDir>,
    listener: Arc<UnixListener>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Makes the socket in the state directory, whose lock the caller holds, and starts the thread `pth-control`. Those
    /// who want to see records are handed over to `audit`.
    /// `on_thread_start` is the first thing that the thread does, and it has returned when `start` does: the gate must
    /// know the thread before the thread opens anything.
    ///
    /// # Errors
    /// The state directory is not root's alone, the socket cannot be made, or no thread.
    pub fn start(
        state: &Path,
        desk: Arc<dyn Desk>,
        audit: Audit,
        on_thread_start: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let state = Arc::new(StateDir::open(state)?);
        let listener = Arc::new(state.listen()?);
        let is_over = Arc::new(AtomicBool::new(false));
        let (ready, started) = sync_channel(1);
        let thread = {
            let (listener, is_over) = (Arc::clone(&listener), Arc::clone(&is_over));
            Builder::new().name("pth-control".into()).spawn(move || {
                on_thread_start();
                let _ = ready.send(()); // the other end waits for it
                while !is_over.load(Ordering::SeqCst) {
                    match listener.accept() {
                        Ok((stream, _)) => serve(stream, &*desk, &audit),
                        Err(_) if is_over.load(Ordering::SeqCst) => {}
                        Err(_) => std::thread::park_timeout(BREATH),
                    }
                }
            })?
        };
        let _ = started.recv();
        Ok(Server { state, listener, is_over, thread })
    }

    /// Stops listening, and removes the socket. What is under way comes to its end on the thread that is given back.
    #[must_use = "a change may be under way"]
    pub fn stop(self) -> JoinHandle<()> {
        self.is_over.store(true, Ordering::SeqCst);
        self.state.unlink();
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both); // ends the accept(2) that waits
        self.thread
    }
}

fn serve(stream: UnixStream, desk: &dyn Desk, audit: &Audit) {
    let Ok(peer) = Peer::of(&stream) else { return };
    let mut wish = None;
    let (answer, limit) = if peer.is_root() {
        let answer = match read_line(&stream, MAX_REQUEST, Instant::now() + TURN) {
            Ok(line) => from_line(&line).and_then(|request| {
                if let Request::Events { wish: wished } = &request {
                    wish = Some(*wished);
                }
                carry_out(request, desk, &peer)
            }),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Refusal::new(Why::Malformed, format!("control socket: the request is {error}")))
            }
            Err(_) => return, // it has gone, or has not said what it wants
        };
        (answer, TURN)
    } else {
        desk.refused(&peer);
        let message = format!("control socket: only root may change approvals, not user {}", peer.uid);
        (Err(Refusal::new(Why::NotRoot, message)), BRUSH_OFF)
    };
    let line = answer.and_then(|answer| to_line(&answer)).or_else(|refusal| to_line(&Answer::Refused(refusal)));
    let Ok(line) = line else { return };
    let is_answered = write_line(&stream, &line, Instant::now() + limit).is_ok(); // else it has gone: what is done is done
    if let Some(wish) = wish.filter(|_| is_answered) {
        audit.follow(stream, wish);
    }
}

fn carry_out(request: Request, desk: &dyn Desk, by: &Peer) -> Result<Answer, Refusal> {
    Ok(match request {
        Request::Read { path } => Answer::Seen(Box::new(desk.read(path.0.as_ref())?)),
        Request::Approve { shown } => Answer::Seen(Box::new(desk.approve(&shown, by)?)),
        Request::ApproveEverywhere { name, sha256 } => {
            desk.approve_everywhere(&name.0, sha256, by)?;
            Answer::Done
        }
        Request::Revoke { path } => Answer::Revoked(desk.revoke(path.0.as_ref(), by)?),
        Request::RevokeEverywhere { name, sha256 } => Answer::Revoked(desk.revoke_everywhere(&name.0, sha256, by)?),
        Request::Approvals { after } => Answer::Approvals(Page::of(desk.approvals()?, after.as_ref(), Approved::key)),
        Request::Held { after } => Answer::Held(Page::of(desk.held()?, after.as_ref(), HeldFile::key)),
        Request::Restore { id, to, approve } => {
            Answer::Restored(desk.restore(&id, to.as_ref().map(|to| to.0.as_ref()), approve, by)?)
        }
        Request::Purge { ids } => {
            desk.purge(&ids, by)?;
            Answer::Done
        }
        Request::Events { .. } => Answer::Done, // what is asked for comes behind it
    })
}
