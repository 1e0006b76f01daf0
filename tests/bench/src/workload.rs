//! What is done before each contestant, as a table.

use crate::opener::Deed;
use crate::place::{Place, Sites};

/// A row.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) sites: Sites,
    /// Under which name the opener runs.
    pub(crate) who: &'static str,
    deed: fn(&Place) -> Deed,
    pub(crate) threads: usize,
    /// How often in a round, all threads together; `short` in the short form, where 0 leaves it out.
    long: usize,
    short: usize,
    /// Whether an enforcing guard refuses it.
    pub(crate) is_refused: bool,
}

const WORK: Sites = Sites::Work { others: 0 };
const OPEN: Workload = Workload {
    name: "",
    sites: WORK,
    who: "opener",
    deed: |place| Deed::Read(place.work().join("approved.pth")),
    threads: 1,
    long: 20_000,
    short: 200,
    is_refused: false,
};
const START: Workload = Workload { sites: Sites::Venv, long: 100, short: 3, ..OPEN };

fn other_child(place: &Place) -> Deed {
    Deed::Read(place.work().join("six.py"))
}

fn python(place: &Place, code: &str) -> Deed {
    let arguments = vec!["-c".to_owned(), code.to_owned()];
    Deed::Run { program: place.python("venv"), arguments, made_in: place.venv(), made: None }
}

/// All of them, those of one session together.
pub(crate) const WORKLOADS: &[Workload] = &[
    Workload { name: APPROVED, ..OPEN },
    Workload {
        name: "open unapproved",
        deed: |place| Deed::Read(place.work().join("unapproved.pth")),
        is_refused: true,
        ..OPEN
    },
    Workload { name: "open other child", deed: other_child, ..OPEN },
    Workload { name: "open deeper", deed: |place| Deed::Read(place.work().join("package/deep.py")), ..OPEN },
    Workload { name: "open unguarded", deed: |place| Deed::Read(place.unguarded()), ..OPEN },
    Workload {
        name: "write permitted",
        who: "permitted",
        deed: |place| Deed::Write(place.work().join("written.pth")),
        long: 3_000,
        ..OPEN
    },
    Workload {
        name: "write denied",
        who: "denied",
        deed: |place| Deed::Write(place.work().join("denied.pth")),
        long: 3_000,
        is_refused: true,
        ..OPEN
    },
    Workload { name: "create elsewhere", deed: |place| Deed::Create(place.at("elsewhere")), long: 10_000, ..OPEN },
    Workload { name: "rename elsewhere", deed: |place| Deed::Rename(place.at("elsewhere")), long: 10_000, ..OPEN },
    Workload {
        name: "mkdir elsewhere",
        deed: |place| Deed::MakeDirectory(place.at("elsewhere")),
        long: 10_000,
        ..OPEN
    },
    Workload { name: "open approved, 8 threads", threads: 8, short: 400, ..OPEN },
    Workload { name: "open approved, 64 threads", threads: 64, long: 32_000, short: 640, ..OPEN },
    Workload { name: "open other child, 8 threads", deed: other_child, threads: 8, short: 400, ..OPEN },
    Workload { name: "open other child, 64 threads", deed: other_child, threads: 64, long: 32_000, short: 640, ..OPEN },
    Workload { name: "python3 -c pass", deed: |place| python(place, "pass"), ..START },
    Workload { name: "python3 import 200", deed: |place| python(place, "import wide"), long: 60, ..START },
    Workload { name: "open approved, 100 dirs", sites: Sites::Work { others: 100 }, ..OPEN },
    Workload { name: "open approved, 10,000 dirs", sites: Sites::Work { others: 10_000 }, short: 0, ..OPEN },
    Workload {
        name: "pip install 20",
        sites: Sites::Pip,
        deed: |place| Deed::Run {
            program: place.python("pip"),
            arguments: place.pip_arguments(),
            made_in: place.pip(),
            made: Some(Place::installed()),
        },
        long: 3,
        short: 0,
        ..START
    },
];

/// The workload that is drawn.
pub(crate) const APPROVED: &str = "open approved";

impl Workload {
    pub(crate) fn deed(&self, place: &Place) -> Deed {
        (self.deed)(place)
    }

    /// How often each thread does it, and before that without measuring.
    pub(crate) fn times(&self, is_short: bool) -> (usize, usize) {
        let all = if is_short { self.short } else { self.long };
        let times = all.div_ceil(self.threads);
        (times, if times < 10 { 1 } else { times / 10 })
    }
}
