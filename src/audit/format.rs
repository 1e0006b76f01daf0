//! The schemas of JSON lines.

use super::ecs::push_json_line;
use super::ocsf::{Device, push_event_line};
use super::record::Record;
use crate::model::JsonFormat;

/// Makes one line, line feed included.
pub(super) type Render = Box<dyn Fn(&Record, &mut Vec<u8>) + Send>;

/// Who makes lines of a schema.
pub(super) fn render(format: JsonFormat) -> Render {
    match format {
        JsonFormat::Ecs => Box::new(push_json_line),
        JsonFormat::Ocsf => {
            let device = Device::this();
            Box::new(move |record, out| push_event_line(record, &device, out))
        }
    }
}
