//! The schemas of JSON lines.

use super::ecs::push_json_line;
use super::ocsf::{Device, push_event_line};
use super::record::Record;

/// Makes one line, line feed included.
pub(super) type Render = Box<dyn Fn(&Record, &mut Vec<u8>) + Send>;

/// The schema of JSON lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonFormat {
    /// A document of the Elastic Common Schema.
    #[default]
    Ecs,
    /// An event of the Open Cybersecurity Schema Framework.
    Ocsf,
}

impl JsonFormat {
    /// The word used in policy files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            JsonFormat::Ecs => "ecs",
            JsonFormat::Ocsf => "ocsf",
        }
    }

    pub(super) fn render(self) -> Render {
        match self {
            JsonFormat::Ecs => Box::new(push_json_line),
            JsonFormat::Ocsf => {
                let device = Device::this();
                Box::new(move |record, out| push_event_line(record, &device, out))
            }
        }
    }
}
