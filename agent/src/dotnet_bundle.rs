//! .NET programs that are one file: which they are, and of which runtime.
//!
//! `dotnet publish -p:PublishSingleFile=true` links the runtime into the
//! program, so that no `libcoreclr.so` is mapped and the file's name says
//! nothing. What stays is the host's marker in `.data`: the SHA-256 of
//! `.net core bundle` and a line feed, and before it where the bundle begins (0 in a host that
//! holds none: a framework-dependent program, which is .NET all the same). See
//! dotnet/runtime, `src/native/corehost/apphost/standalone/hostfxr_resolver` and
//! `bundle_marker.cpp`.

/// The digest.
const MARKER: [u8; 32] = [
    0x8b, 0x12, 0x02, 0xb9, 0x6a, 0x61, 0x20, 0x38, 0x72, 0x7b, 0x93, 0x02, 0x14, 0xd7, 0xa0, 0x32,
    0x13, 0xf5, 0xb9, 0xe6, 0xef, 0xae, 0x33, 0x18, 0xee, 0x3b, 0x2d, 0xce, 0x24, 0xb3, 0x6a, 0xae,
];
/// How Microsoft's native files name their version: `@(#)Version 8.0.23.53103`.
const VERSION: &[u8] = b"@(#)Version ";

/// Whether initialised data is that of a .NET host (pure).
pub fn is_host(data: &[u8]) -> bool {
    memchr::memmem::find(data, &MARKER).is_some()
}

/// `8.0` of `@(#)Version 8.0.23.53103`: what follows is the day of the build.
pub fn version(data: &[u8]) -> Option<String> {
    let at = memchr::memmem::find(data, VERSION)? + VERSION.len();
    let text = &data[at..data.len().min(at + 16)];
    let number = |part: Option<&[u8]>| {
        let digits = part?.iter().take_while(|b| b.is_ascii_digit()).count();
        let text = std::str::from_utf8(&part?[..digits]).ok()?;
        (!text.is_empty() && text.len() <= 3).then(|| text.to_owned())
    };
    let mut parts = text.split(|b| *b == b'.');
    Some(format!("{}.{}", number(parts.next())?, number(parts.next())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_marker_is_the_digest_of_its_text() {
        assert_eq!(Sha256::digest(b".net core bundle\n")[..], MARKER);
        let data = [&b"before"[..], &[0; 8], &MARKER, b"behind"].concat();
        assert!(is_host(&data));
        assert!(!is_host(&data[..data.len() - 8]));
    }

    #[test]
    fn the_version_is_major_and_minor() {
        assert_eq!(version(b"\0@(#)Version 8.0.23.53103 @Commit: x").as_deref(), Some("8.0"));
        for odd in [&b"@(#)Version 8"[..], b"@(#)Version x.y", b"@(#)Version ", b"8.0"] {
            assert_eq!(version(odd), None, "{odd:?}");
        }
    }
}
