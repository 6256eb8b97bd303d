//! Names in Kubernetes: what can be one, and so is safe in the path of a request and in a command.

use std::sync::Arc;

/// The longest name of anything, in bytes (RFC 1123 subdomain).
pub const NAME_MAX: usize = 253;
/// The longest name of a namespace or a container, in bytes (RFC 1123 label).
const LABEL_MAX: usize = 63;

/// Whether `text` can name an object (RFC 1123 subdomain).
pub fn is_object_name(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !part.is_empty() && part.bytes().all(is_fit) && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= NAME_MAX && text.split('.').all(is_part)
}

/// Whether `text` can name a namespace or a container (RFC 1123 label).
pub fn is_label(text: &str) -> bool {
    is_object_name(text) && text.len() <= LABEL_MAX && !text.contains('.')
}

/// Whether `text` is a word that means nothing to a shell: what an owner's kind and name are, and a UID. It may be empty.
pub fn is_word(text: &str) -> bool {
    text.len() <= NAME_MAX && text.chars().all(is_of_word)
}

/// `text` as a word: what cannot be in one becomes `_`.
pub fn word(text: Arc<str>) -> Arc<str> {
    if is_word(&text) {
        return text;
    }
    text.chars().take(NAME_MAX).map(|c| if is_of_word(c) { c } else { '_' }).collect::<String>().into()
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_are_safe_in_a_path() {
        for name in ["api", "api-7d9f.x", "1"] {
            assert!(is_object_name(name), "{name}");
        }
        for name in
            ["", ".", "..", "../x", "a..b", "a.-b", "a/b", "a?b", "A", "a_b", "-a", "a-", "a%2f", &"a".repeat(254)]
        {
            assert!(!is_object_name(name), "{name}");
        }
    }

    #[test]
    fn a_label_has_no_dots_and_is_short() {
        assert!(is_label("kube-system") && is_label(&"a".repeat(63)));
        for name in ["", "a.b", "A", "$(id)", &"a".repeat(64)] {
            assert!(!is_label(name), "{name}");
        }
    }

    #[test]
    fn a_word_means_nothing_to_a_shell() {
        for said in ["", "StatefulSet", "api-1.x", "a_b"] {
            assert!(is_word(said), "{said}");
            assert_eq!(&*word(said.into()), said);
        }
        for (said, becomes) in [("x;curl|sh", "x_curl_sh"), ("$(id)", "__id_"), ("a b\n", "a_b_"), ("é`", "__")] {
            assert!(!is_word(said), "{said}");
            assert_eq!(&*word(said.into()), becomes);
        }
        assert_eq!(word("é".repeat(1_000).into()).len(), NAME_MAX);
    }
}
