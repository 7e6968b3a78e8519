//! `/proc/PID/maps`: which files a process has mapped, and where.

/// One executable or other mapping of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping<'t> {
    pub start: u64,
    pub end: u64,
    pub offset: u64,
    pub executable: bool,
    /// `major:minor` of the file system.
    pub device: &'t str,
    pub inode: u64,
    pub path: &'t str,
}

/// All mappings that have a name, in the order of the file.
pub fn parse(text: &str) -> impl Iterator<Item = Mapping<'_>> {
    parse_all(text).filter(|mapping| !mapping.path.is_empty())
}

/// All mappings; the path of anonymous memory is empty.
pub fn parse_all(text: &str) -> impl Iterator<Item = Mapping<'_>> {
    text.lines().filter_map(line)
}

/// The mapping that holds an address; the kernel lists them in their order.
pub fn at<'m, 't>(mappings: &'m [Mapping<'t>], address: u64) -> Option<&'m Mapping<'t>> {
    let next = mappings.partition_point(|mapping| mapping.start <= address);
    mappings[..next].last().filter(|mapping| address < mapping.end)
}

fn line(line: &str) -> Option<Mapping<'_>> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let offset = fields.next()?;
    let device = fields.next()?;
    let inode = fields.next()?.parse().ok()?;
    let path = fields.next().unwrap_or_default().trim_start();
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset: u64::from_str_radix(offset, 16).ok()?,
        device,
        inode,
        executable: permissions.as_bytes().get(2) == Some(&b'x'),
        path: path.strip_suffix(" (deleted)").unwrap_or(path),
    })
}

/// Last component of a path.
pub fn basename(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_with_spaces_and_deleted_files_are_read() {
        let text = "\
55a0-55b0 r-xp 00001000 08:01 123                        /opt/my app/bin (deleted)
7f00-7f10 rw-p 00000000 00:00 0
7fff-8fff r-xp 00000000 00:00 0                          [vdso]
";
        let maps: Vec<_> = parse(text).collect();
        assert_eq!(maps.len(), 2);
        assert_eq!(
            maps[0],
            Mapping {
                start: 0x55a0,
                end: 0x55b0,
                offset: 0x1000,
                executable: true,
                device: "08:01",
                inode: 123,
                path: "/opt/my app/bin"
            }
        );
        assert_eq!(basename(maps[0].path), "bin");
        assert_eq!(maps[1].path, "[vdso]");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ -~\n]{0,300}") {
            let _ = parse(&text).count();
        }
    }
}
