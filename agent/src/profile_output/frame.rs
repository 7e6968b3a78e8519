//! A frame's text, taken apart.

/// `function (module)`, or a place in a file that has no name yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'f> {
    /// The whole text where the place has no name.
    pub function: &'f str,
    pub module: Option<&'f str>,
    pub build_id: Option<&'f str>,
    /// Offset in the file.
    pub offset: Option<u64>,
}

/// Reads what `profiler::symbols` writes: `name (module)` and
/// `[build id+0xoffset] (module)`.
pub fn parse(text: &str) -> Frame<'_> {
    let (function, module) = match text.strip_suffix(')').and_then(|text| text.rsplit_once(" (")) {
        Some((function, module)) => (function, Some(module)),
        None => (text, None),
    };
    let place = function.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let place = place.and_then(|place| place.rsplit_once("+0x"));
    let place =
        place.and_then(|(file, offset)| Some((file, u64::from_str_radix(offset, 16).ok()?)));
    let is_id = |file: &&str| !file.is_empty() && file.bytes().all(|byte| byte.is_ascii_hexdigit());
    Frame {
        function,
        module,
        build_id: place.map(|(file, _)| file).filter(is_id),
        offset: place.map(|(_, offset)| offset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_places_are_told_apart() {
        let frame =
            |function, module, build_id, offset| Frame { function, module, build_id, offset };
        for (text, expected) in [
            ("f(int) (app)", frame("f(int)", Some("app"), None, None)),
            (
                "[12ab+0x1f] (libx.so)",
                frame("[12ab+0x1f]", Some("libx.so"), Some("12ab"), Some(0x1f)),
            ),
            (
                "[libx.so+0x1f] (libx.so)",
                frame("[libx.so+0x1f]", Some("libx.so"), None, Some(0x1f)),
            ),
            ("[unwind failed]", frame("[unwind failed]", None, None, None)),
            ("[kernel]", frame("[kernel]", None, None, None)),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_frame(text in "\\PC{0,60}") {
            prop_assert!(text.contains(parse(&text).function));
        }
    }
}
