//! The fields that any format takes from a JSON record, and where they are.

/// Fields with their names, and what is said of a record in which one is not as it must be.
macro_rules! keys {
    ($($key:ident = $name:literal,)*) => {
        /// A field.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Key {
            $(#[doc = $name] $key,)*
        }

        impl Key {
            /// How many there are.
            pub(super) const COUNT: usize = [$(Key::$key),*].len();

            /// Said where it is of another type.
            pub(crate) fn is_not_text(self) -> &'static str {
                match self {
                    $(Key::$key => concat!($name, " is not text"),)*
                }
            }

            /// Said where there are two.
            pub(super) fn is_twice(self) -> &'static str {
                match self {
                    $(Key::$key => concat!($name, " is there twice"),)*
                }
            }
        }
    };
}

keys! {
    Timestamp = "@timestamp",
    EventAction = "event.action",
    EventCategory = "event.category",
    EventType = "event.type",
    EventCode = "event.code",
    EventOutcome = "event.outcome",
    EventProvider = "event.provider",
    FilePath = "file.path",
    FileExtension = "file.extension",
    ProcessExecutable = "process.executable",
    ProcessArgs = "process.args",
    ParentExecutable = "process.parent.executable",
    UserId = "user.id",
    EffectiveUserId = "user.effective.id",
    HostOsType = "host.os.type",
    HostOsFamily = "host.os.family",
    ContainerId = "container.id",
    GuardVerdict = "pthguard.verdict",
    GuardContent = "pthguard.content",
    GuardScript = "pthguard.script",
    GuardLine = "pthguard.line",
    WinlogEventId = "winlog.event_id",
    WinlogProvider = "winlog.provider_name",
    Id = "Id",
    Provider = "ProviderName",
    Properties = "Properties",
    Message = "Message",
    TimeCreated = "TimeCreated",
    TargetFilename = "TargetFilename",
    Image = "Image",
    User = "User",
    UtcTime = "UtcTime",
    FalcoTime = "time",
    FalcoType = "evt.type",
    FalcoResult = "evt.res",
    FalcoFailed = "evt.failed",
    FalcoFlags = "evt.arg.flags",
    FalcoIsOpenWrite = "evt.is_open_write",
    FalcoIsOpenRead = "evt.is_open_read",
    FalcoFd = "fd.name",
    FalcoPath = "fs.path.name",
    FalcoSource = "fs.path.source",
    FalcoTarget = "fs.path.target",
    FalcoExe = "proc.exepath",
    FalcoName = "proc.name",
    FalcoCommandLine = "proc.cmdline",
    FalcoArgs = "proc.args",
    FalcoParent = "proc.pexepath",
    FalcoUid = "user.uid",
    FalcoContainer = "container.id",
}

impl Key {
    /// Whether only the guard's own records have it.
    pub(super) fn is_guard(self) -> bool {
        matches!(self, Key::GuardVerdict | Key::GuardContent | Key::GuardScript | Key::GuardLine)
    }
}

/// An object in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The record, or what an export has wrapped.
    Root,
    /// `event`
    Event,
    /// `file`
    File,
    /// `process`
    Process,
    /// `process.parent`
    Parent,
    /// `user`
    User,
    /// `user.effective`
    EffectiveUser,
    /// `host`
    Host,
    /// `host.os`
    HostOs,
    /// `container`
    Container,
    /// `pthguard`
    Guard,
    /// `winlog`
    Winlog,
    /// `winlog.event_data`, and `EventData` of an exported event log.
    EventData,
    /// `Event` of an exported event log.
    Log,
    /// `Event.System`
    LogSystem,
    /// `Event.System.Provider`
    LogProvider,
    /// `output_fields`
    Falco,
}

/// Where a name leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To an object that holds fields.
    Into(Place),
    /// To a field.
    Take(Key),
    /// Nowhere.
    Skip,
}

/// Where `name` leads from `place`, dots in it being steps. Not by calling itself: a name can be as long as a record.
pub(super) fn step(mut place: Place, mut name: &str) -> Step {
    loop {
        let found = one_step(place, name);
        if found != Step::Skip {
            return found;
        }
        let Some(dot) = name.bytes().position(|byte| byte == b'.') else { return Step::Skip };
        let (first, rest) = (&name[..dot], &name[dot + 1..]);
        let Step::Into(next) = one_step(place, first) else { return Step::Skip };
        (place, name) = (next, rest);
    }
}

fn one_step(place: Place, name: &str) -> Step {
    use Step::{Into, Skip, Take};
    match place {
        Place::Root => match name {
            "@timestamp" => Take(Key::Timestamp),
            "event" => Into(Place::Event),
            "file" => Into(Place::File),
            "process" => Into(Place::Process),
            "user" => Into(Place::User),
            "host" => Into(Place::Host),
            "container" => Into(Place::Container),
            "pthguard" => Into(Place::Guard),
            "winlog" => Into(Place::Winlog),
            "Event" => Into(Place::Log),
            "output_fields" => Into(Place::Falco),
            "_source" => Into(Place::Root),
            "Id" | "EventID" => Take(Key::Id),
            "ProviderName" | "SourceName" => Take(Key::Provider),
            "Properties" => Take(Key::Properties),
            "Message" => Take(Key::Message),
            "TimeCreated" => Take(Key::TimeCreated),
            "time" => Take(Key::FalcoTime),
            name => one_step(Place::EventData, name),
        },
        Place::Event => match name {
            "action" => Take(Key::EventAction),
            "category" => Take(Key::EventCategory),
            "type" => Take(Key::EventType),
            "code" => Take(Key::EventCode),
            "outcome" => Take(Key::EventOutcome),
            "provider" => Take(Key::EventProvider),
            _ => Skip,
        },
        Place::File => match name {
            "path" => Take(Key::FilePath),
            "extension" => Take(Key::FileExtension),
            _ => Skip,
        },
        Place::Process => match name {
            "executable" => Take(Key::ProcessExecutable),
            "args" => Take(Key::ProcessArgs),
            "parent" => Into(Place::Parent),
            _ => Skip,
        },
        Place::Parent => take_if(name == "executable", Key::ParentExecutable),
        Place::User => match name {
            "id" => Take(Key::UserId),
            "effective" => Into(Place::EffectiveUser),
            _ => Skip,
        },
        Place::EffectiveUser => take_if(name == "id", Key::EffectiveUserId),
        Place::Host if name == "os" => Into(Place::HostOs),
        Place::Host => Skip,
        Place::HostOs => match name {
            "type" => Take(Key::HostOsType),
            "family" => Take(Key::HostOsFamily),
            _ => Skip,
        },
        Place::Container => take_if(name == "id", Key::ContainerId),
        Place::Guard => match name {
            "verdict" => Take(Key::GuardVerdict),
            "content" => Take(Key::GuardContent),
            "script" => Take(Key::GuardScript),
            "line" => Take(Key::GuardLine),
            _ => Skip,
        },
        Place::Winlog => match name {
            "event_id" => Take(Key::WinlogEventId),
            "provider_name" => Take(Key::WinlogProvider),
            "event_data" => Into(Place::EventData),
            _ => Skip,
        },
        Place::EventData => match name {
            "TargetFilename" => Take(Key::TargetFilename),
            "Image" => Take(Key::Image),
            "User" => Take(Key::User),
            "UtcTime" => Take(Key::UtcTime),
            _ => Skip,
        },
        Place::Log => match name {
            "System" => Into(Place::LogSystem),
            "EventData" => Into(Place::EventData),
            _ => Skip,
        },
        Place::LogSystem => match name {
            "EventID" => Take(Key::Id),
            "Provider" => Into(Place::LogProvider),
            _ => Skip,
        },
        Place::LogProvider => match name {
            "#attributes" => Into(Place::LogProvider),
            "Name" => Take(Key::Provider),
            _ => Skip,
        },
        Place::Falco => falco(name),
    }
}

/// Falco's names are as they are, with the dots.
fn falco(name: &str) -> Step {
    Step::Take(match name {
        "evt.type" => Key::FalcoType,
        "evt.res" => Key::FalcoResult,
        "evt.failed" => Key::FalcoFailed,
        "evt.arg.flags" => Key::FalcoFlags,
        "evt.is_open_write" => Key::FalcoIsOpenWrite,
        "evt.is_open_read" => Key::FalcoIsOpenRead,
        "fd.name" => Key::FalcoFd,
        "fs.path.name" => Key::FalcoPath,
        "fs.path.source" => Key::FalcoSource,
        "fs.path.target" => Key::FalcoTarget,
        "proc.exepath" => Key::FalcoExe,
        "proc.name" => Key::FalcoName,
        "proc.cmdline" => Key::FalcoCommandLine,
        "proc.args" => Key::FalcoArgs,
        "proc.pexepath" => Key::FalcoParent,
        "user.uid" => Key::FalcoUid,
        "container.id" => Key::FalcoContainer,
        _ => return Step::Skip,
    })
}

fn take_if(is_it: bool, key: Key) -> Step {
    if is_it { Step::Take(key) } else { Step::Skip }
}
