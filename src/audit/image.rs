//! The image that a container was made from, out of its engine's own files. Called by the auditor's thread only.
//!
//! A record is about a container that may be gone in a minute, and its id says nothing to whoever reads it then. No
//! engine is asked: that would be a client of each, and a wait. What their files cannot tell stays unknown.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::model::Container;

/// Images that are remembered: more than the containers of one host that are denied something in one day.
const MAX_KNOWN: usize = 128;
/// A file that is larger is not read. The list of all of podman's containers has some hundred bytes for each.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// containerd's namespaces: Kubernetes, and what is used without it. Docker's has no image names.
const NAMESPACES: [&str; 2] = ["k8s.io", "default"];

/// An image, as its engine calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What the container was asked to be made from: `debian:12`.
    pub name: String,
    /// `sha256:` and the digest of its configuration, where it is known.
    pub id: Option<String>,
}

/// The images of containers that were asked for lately.
pub(super) struct Images {
    root: PathBuf,
    /// Whose files are believed: root's.
    owner: u32,
    known: VecDeque<(String, Arc<Image>)>,
}

impl Images {
    pub(super) fn new() -> Self {
        Images::below(PathBuf::from("/"), 0)
    }

    fn below(root: PathBuf, owner: u32) -> Self {
        Images { root, owner, known: VecDeque::new() }
    }

    /// The container's image. Only what was found is remembered: an engine may write its file after it started the
    /// container.
    pub(super) fn of(&mut self, container: &Container) -> Option<Arc<Image>> {
        if let Some((_, image)) = self.known.iter().find(|(id, _)| *id == container.id) {
            return Some(Arc::clone(image));
        }
        let image = Arc::new(self.look_up(container)?);
        if self.known.len() == MAX_KNOWN {
            self.known.pop_front();
        }
        self.known.push_back((container.id.clone(), Arc::clone(&image)));
        Some(image)
    }

    fn look_up(&self, container: &Container) -> Option<Image> {
        let id = container.id.as_str();
        // It becomes a part of paths. Who made the cgroup has chosen it, so it is not taken on trust.
        if id.len() != 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        match container.runtime {
            Some("docker") => self.docker(id),
            Some("containerd") => self.containerd(id),
            Some("podman" | "cri-o") => self.storage(id),
            None => self.docker(id).or_else(|| self.containerd(id)).or_else(|| self.storage(id)),
            Some(_) => None,
        }
    }

    fn docker(&self, id: &str) -> Option<Image> {
        #[derive(Deserialize)]
        struct Container {
            #[serde(rename = "Config")]
            config: Config,
            #[serde(rename = "Image")]
            id: Option<String>,
        }
        #[derive(Deserialize)]
        struct Config {
            #[serde(rename = "Image")]
            image: String,
        }
        let container: Container = self.read(&format!("var/lib/docker/containers/{id}/config.v2.json"))?;
        Some(Image { name: container.config.image, id: container.id })
    }

    fn containerd(&self, id: &str) -> Option<Image> {
        #[derive(Deserialize)]
        struct Spec {
            annotations: Annotations,
        }
        #[derive(Deserialize)]
        struct Annotations {
            #[serde(rename = "io.kubernetes.cri.image-name")]
            image: String,
        }
        NAMESPACES.iter().find_map(|namespace| {
            let spec: Spec =
                self.read(&format!("run/containerd/io.containerd.runtime.v2.task/{namespace}/{id}/config.json"))?;
            Some(Image { name: spec.annotations.image, id: None })
        })
    }

    /// podman's and cri-o's common store. Its second list is of containers that need not survive a crash.
    fn storage(&self, id: &str) -> Option<Image> {
        #[derive(Deserialize)]
        struct Stored {
            id: String,
            metadata: Option<String>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Metadata {
            image_name: String,
            image_id: Option<String>,
        }
        ["containers.json", "volatile-containers.json"].iter().find_map(|list| {
            let stored: Vec<Stored> = self.read(&format!("var/lib/containers/storage/overlay-containers/{list}"))?;
            let text = stored.into_iter().find(|stored| stored.id == id)?.metadata?;
            let found: Metadata = serde_json::from_str(&text).ok()?;
            Some(Image { name: found.image_name, id: found.image_id.map(|id| format!("sha256:{id}")) })
        })
    }

    fn read<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        serde_json::from_slice(&read_owned(&self.root.join(path), self.owner)?).ok()
    }
}

/// The bytes of a file that nobody but its owner can have written. Opened so that neither a link nor a FIFO in its place
/// leads or holds the auditor anywhere.
fn read_owned(path: &Path, owner: u32) -> Option<Vec<u8>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let writable_by_others = metadata.mode() & 0o022 != 0;
    if !metadata.is_file() || metadata.uid() != owner || writable_by_others || metadata.len() > MAX_FILE {
        return None;
    }
    let mut bytes = Vec::new();
    // It may have grown since.
    file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a broken assumption fails the test")]

    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const DOCKER: &str = "var/lib/docker/containers";
    const STORAGE: &str = "var/lib/containers/storage/overlay-containers";

    fn id(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    fn container(id: &str, runtime: Option<&'static str>) -> Container {
        Container { id: id.to_owned(), runtime }
    }

    fn put(root: &Path, path: &str, text: &str) -> PathBuf {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn docker(root: &Path, id: &str) -> PathBuf {
        let text = r#"{"ID":"x","Config":{"Image":"debian:12","Env":[]},"Image":"sha256:ab","State":{"Pid":7}}"#;
        put(root, &format!("{DOCKER}/{id}/config.v2.json"), text)
    }

    /// The files are ours here.
    fn images(root: &Path) -> Images {
        Images::below(root.to_owned(), nix::unistd::geteuid().as_raw())
    }

    #[test]
    fn every_engines_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        docker(root, &id('a'));
        put(
            root,
            &format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{}/config.json", id('b')),
            r#"{"ociVersion":"1.1.0","annotations":{"io.kubernetes.cri.image-name":"docker.io/library/nginx:1"}}"#,
        );
        let metadata = |name| format!(r#""{{\"image-name\":\"{name}\",\"image-id\":\"cd\",\"name\":\"c1\"}}""#);
        put(
            root,
            &format!("{STORAGE}/containers.json"),
            &format!(
                r#"[{{"id":"{}"}},{{"id":"{}","names":["c1"],"metadata":{}}}]"#,
                id('c'),
                id('d'),
                metadata("localhost/t:1")
            ),
        );
        put(
            root,
            &format!("{STORAGE}/volatile-containers.json"),
            &format!(r#"[{{"id":"{}","metadata":{}}}]"#, id('e'), metadata("t:2")),
        );
        let mut images = images(root);
        for (digit, runtime, expected) in [
            ('a', Some("docker"), Some(("debian:12", Some("sha256:ab")))),
            ('a', None, Some(("debian:12", Some("sha256:ab")))),
            ('b', Some("containerd"), Some(("docker.io/library/nginx:1", None))),
            ('c', Some("podman"), None),
            ('d', Some("podman"), Some(("localhost/t:1", Some("sha256:cd")))),
            ('e', Some("cri-o"), Some(("t:2", Some("sha256:cd")))),
            ('f', None, None),
        ] {
            let image = images.of(&container(&id(digit), runtime));
            let image = image.as_ref().map(|image| (image.name.as_str(), image.id.as_deref()));
            assert_eq!(image, expected, "{digit} {runtime:?}");
        }
    }

    #[test]
    fn what_others_could_have_written_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let file = docker(dir.path(), &id('a'));
        let of = |mut images: Images| images.of(&container(&id('a'), Some("docker"))).is_some();
        let found = || of(images(dir.path()));
        assert!(found());
        let us = nix::unistd::geteuid().as_raw();
        assert!(!of(Images::below(dir.path().to_owned(), us + 1)), "another user's");
        fs::set_permissions(&file, Permissions::from_mode(0o620)).unwrap();
        assert!(!found(), "writable by its group");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        fs::rename(&file, dir.path().join("elsewhere")).unwrap();
        symlink(dir.path().join("elsewhere"), &file).unwrap();
        assert!(!found(), "a link");
        fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(!found(), "a FIFO, without waiting for its writer");
        fs::remove_file(&file).unwrap();
        fs::File::create(&file).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert!(!found(), "too large");
    }

    #[test]
    fn no_name_leads_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "var/lib/docker/config.v2.json", r#"{"Config":{"Image":"x"}}"#);
        let mut images = images(dir.path());
        for id in ["..", ".", "", "web", "../containers", &format!("{}/", "a".repeat(63))] {
            assert_eq!(images.of(&container(id, Some("docker"))), None, "{id}");
        }
    }

    #[test]
    fn found_ones_are_remembered_and_no_more_than_so_many() {
        let dir = tempfile::tempdir().unwrap();
        let mut images = images(dir.path());
        let first = container(&id('a'), Some("docker"));
        assert_eq!(images.of(&first), None);
        docker(dir.path(), &first.id);
        assert!(images.of(&first).is_some(), "not found is not remembered");
        fs::remove_dir_all(dir.path().join("var")).unwrap();
        assert!(images.of(&first).is_some());
        for number in 0..MAX_KNOWN {
            let next = container(&format!("{number:064x}"), Some("docker"));
            docker(dir.path(), &next.id);
            assert!(images.of(&next).is_some());
        }
        assert_eq!(images.known.len(), MAX_KNOWN);
        assert_eq!(images.of(&first), None, "the oldest is forgotten");
    }
}
