//! The stages of the Dockerfile that are images: `FROM scratch`, a program, a user, an entry point. It is the one place that
//! says what the images are; what it says otherwise than this reader knows is an error, not left out.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Image, ImageFile};

/// Whose images they are: the part of their names before the stage's.
const OWNER: &str = "tocsin";

/// The images of a Dockerfile's `text`, tagged `version`, with `programs` by file name where a stage copies them from
/// another.
pub(super) fn images(text: &str, version: &str, programs: &[&PathBuf]) -> Result<Vec<Image>> {
    let mut images = Vec::new();
    let mut image: Option<Image> = None;
    for line in text.lines().map(str::trim) {
        if let Some(from) = line.strip_prefix("FROM ") {
            images.extend(image.take());
            if let Some(stage) = from.strip_prefix("scratch AS ") {
                let name = format!("{OWNER}/{stage}:{version}");
                image = Some(Image { name, files: Vec::new(), user: String::new(), entrypoint: Vec::new() });
            }
        } else if let Some(image) = &mut image {
            instruction(image, line, programs).with_context(|| format!("Dockerfile: {line}"))?;
        }
    }
    images.extend(image);
    for Image { name, files, user, entrypoint } in &images {
        ensure!(!files.is_empty() && !entrypoint.is_empty(), "{name} runs nothing");
        ensure!(is_numeric(user), "{name} must have a numeric user that is not root, not {user:?}");
    }
    ensure!(!images.is_empty(), "the Dockerfile has no stage `FROM scratch AS …`");
    Ok(images)
}

fn instruction(image: &mut Image, line: &str, programs: &[&PathBuf]) -> Result<()> {
    match line.split_once(' ') {
        _ if line.is_empty() || line.starts_with('#') => {}
        Some(("USER", user)) => user.clone_into(&mut image.user),
        Some(("ENTRYPOINT", list)) => image.entrypoint = serde_json::from_str(list).context("it is no list")?,
        Some(("COPY", paths)) => {
            let (from, to) = paths.split_once(' ').context("it names no destination")?;
            let (from, to) = if from.starts_with("--from=") {
                to.split_once(' ').context("it names no source")?
            } else {
                (from, to)
            };
            let is_meant = |program: &&&PathBuf| program.file_name() == Path::new(from).file_name();
            let from = programs.iter().find(is_meant).with_context(|| format!("there is no program like {from}"))?;
            let path = to.strip_prefix('/').context("the destination is no absolute path")?.to_owned();
            image.files.push(ImageFile::Program { path, from: (*from).clone() });
        }
        _ => bail!("not known here"),
    }
    Ok(())
}

/// `uid:gid`, neither of them root: only then can a kubelet see that it is not root.
fn is_numeric(user: &str) -> bool {
    let is_id = |id: &str| id.parse::<u32>().is_ok_and(|id| id > 0);
    user.split_once(':').is_some_and(|(user, group)| is_id(user) && is_id(group))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::{SHIPPED, STATIC};

    const GOOD: &str = "FROM rust AS build\nRUN make\n\nFROM scratch AS it\n# why\nCOPY --from=build /out/it /bin/it\n\
                        USER 65532:65532\nENTRYPOINT [\"/bin/it\", \"--now\"]\n";

    fn read(text: &str) -> Result<Vec<Image>> {
        images(text, "1.2.3", &[&PathBuf::from("/here/other"), &PathBuf::from("/here/it")])
    }

    #[test]
    fn a_stage_from_scratch_is_an_image() {
        let program = ImageFile::Program { path: "bin/it".to_owned(), from: PathBuf::from("/here/it") };
        let image = Image {
            name: "tocsin/it:1.2.3".to_owned(),
            files: vec![program],
            user: "65532:65532".to_owned(),
            entrypoint: vec!["/bin/it".to_owned(), "--now".to_owned()],
        };
        assert_eq!(read(GOOD).expect("it is understood"), [image]);
    }

    #[test]
    fn what_is_not_understood_is_an_error_that_shows_the_line() {
        for (good, bad, says) in [
            (
                "USER 65532:65532",
                "USER root",
                "tocsin/it:1.2.3 must have a numeric user that is not root, not \"root\"",
            ),
            ("USER 65532:65532", "USER 0:65532", "must have a numeric user that is not root"),
            ("USER 65532:65532", "VOLUME /data", "Dockerfile: VOLUME /data: not known here"),
            ("/out/it ", "/out/that ", "there is no program like /out/that"),
            ("[\"/bin/it\", \"--now\"]", "/bin/it", "it is no list"),
            ("ENTRYPOINT [\"/bin/it\", \"--now\"]", "", "tocsin/it:1.2.3 runs nothing"),
            ("FROM scratch", "FROM debian", "no stage"),
        ] {
            let error = read(&GOOD.replace(good, bad)).expect_err(bad);
            assert!(format!("{error:#}").contains(says), "{error:#}");
        }
    }

    #[test]
    fn our_own_images_are_built_there_with_the_flags_that_are_used_here() {
        let text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Dockerfile")).expect("it is there");
        let builds = SHIPPED.map(|(package, profile)| format!("--profile {profile} --package {package};"));
        for words in builds.iter().map(String::as_str).chain([STATIC]) {
            assert!(text.contains(words), "the Dockerfile does not say {words}");
        }
        let programs = ["/x/tocsin-node-agent", "/x/tocsin-aggregator"].map(PathBuf::from);
        let names = images(&text, "1", &[&programs[0], &programs[1]]).expect("it is understood");
        let names: Vec<_> = names.into_iter().map(|image| image.name).collect();
        assert_eq!(names, ["tocsin/node-agent:1", "tocsin/aggregator:1"]);
    }
}
