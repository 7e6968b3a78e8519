//! A fake NVML for tests: `fake_nvml.c`, built by the C compiler and opened as
//! the driver's library is. What it answers stands in a file beside it.

use std::path::Path;
use std::process::Command;

use super::Nvml;

pub struct Fake {
    folder: tempfile::TempDir,
}

impl Fake {
    /// None, with a word why, where there is no C compiler; on CI that is a failure.
    pub fn new(says: &str) -> Option<Fake> {
        let fake = Fake { folder: tempfile::tempdir().unwrap() };
        fake.says(says);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/meters/nvml/fake_nvml.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-Wall", "-Werror", "-shared", "-fPIC", "-o"]);
        match compiler.arg(fake.library()).arg(source).arg("-ldl").status() {
            Ok(status) => assert!(status.success(), "the fake library does not compile"),
            Err(error) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "cc: {error}");
                eprintln!("skipped: cc: {error}");
                return None;
            }
        }
        Some(fake)
    }

    pub fn open(&self) -> Nvml {
        Nvml::open(self.library().as_os_str())
    }

    /// What it answers from now on.
    pub fn says(&self, text: &str) {
        std::fs::write(self.folder.path().join("fake_nvml.txt"), text).unwrap();
    }

    fn library(&self) -> std::path::PathBuf {
        self.folder.path().join("libnvidia-ml.so.1")
    }
}
