//! Colours and letters of plots. A plot is drawn once, in light colours; where it is shown in the dark, rules of CSS
//! put each colour's other half in its place.

use std::fmt::Write;
use std::sync::OnceLock;

use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    Color, FontDesc, FontFamily, FontStyle, RGBColor, ShapeStyle, TextStyle, register_font,
};

/// Fonts, the first of which is in this program. It is a wide one: labels that have room in it have room in the others.
pub const FAMILY: &str = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";
/// Of a pixel of a plot as it is shown: plots are drawn on a finer grid, for places on it are whole numbers.
pub const UNIT: i32 = 4;

/// A colour in the light and in the dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ink {
    light: u32,
    dark: u32,
}

/// What is under all.
pub const PAPER: Ink = Ink { light: 0xFF_FFFF, dark: 0x15_181E };
/// Letters.
pub const TEXT: Ink = Ink { light: 0x1F_2530, dark: 0xE4_E7EC };
/// Letters that matter less, and axes.
pub const MUTED: Ink = Ink { light: 0x5A_6373, dark: 0xA3_ACBA };
/// Lines at labels.
pub const GRID: Ink = Ink { light: 0xDD_E1E7, dark: 0x33_3943 };
/// Lines between labels.
pub const FAINT: Ink = Ink { light: 0xF0_F2F5, dark: 0x20_242B };
/// The usual case, and what is better.
pub const BLUE: Ink = Ink { light: 0x1F_5FC4, dark: 0x6C_A8FF };
/// What is worse, and the next to the usual case.
pub const ORANGE: Ink = Ink { light: 0xC2_570C, dark: 0xFF_A45C };
/// The rare case, and failures.
pub const RED: Ink = Ink { light: 0xB4_1A46, dark: 0xFF_7D9B };
/// What is not certain.
pub const GREY: Ink = Ink { light: 0x7B_8494, dark: 0x98_A1B0 };

/// Of an ordered family of lines, from little to much.
pub const RAMP: [Ink; 12] = [
    Ink { light: 0x3B_2A8C, dark: 0xB9_ADFF },
    Ink { light: 0x33_4FB4, dark: 0x93_B4FF },
    Ink { light: 0x1F_6FB5, dark: 0x70_C3FF },
    Ink { light: 0x0E_7C93, dark: 0x54_D2E6 },
    Ink { light: 0x0C_7F6E, dark: 0x4C_DCC0 },
    Ink { light: 0x2C_8145, dark: 0x76_E08F },
    Ink { light: 0x5C_7F1E, dark: 0xAE_DE62 },
    Ink { light: 0x86_740F, dark: 0xDC_D14E },
    Ink { light: 0xA6_6410, dark: 0xF7_BC56 },
    Ink { light: 0xB9_4B1C, dark: 0xFF_9D68 },
    Ink { light: 0xB8_2F34, dark: 0xFF_8585 },
    Ink { light: 0x9C_1C5B, dark: 0xFF_8CC0 },
];

impl Ink {
    /// As it is drawn.
    #[must_use]
    pub fn color(self) -> RGBColor {
        let [_, r, g, b] = self.light.to_be_bytes();
        RGBColor(r, g, b)
    }

    /// A line of so many tenths of a pixel.
    #[must_use]
    pub fn line(self, tenths: i32) -> ShapeStyle {
        ShapeStyle::from(self.color()).stroke_width((tenths * UNIT / 10).max(1).unsigned_abs())
    }

    /// A filled shape.
    #[must_use]
    pub fn fill(self) -> ShapeStyle {
        ShapeStyle::from(self.color()).filled()
    }

    /// Letters.
    #[must_use]
    pub fn text(self, size: i32, h: HPos, v: VPos) -> TextStyle<'static> {
        TextStyle { font: font(size), color: self.color().to_backend_color(), pos: Pos::new(h, v) }
    }
}

/// The colours that `count` lines in an order have.
#[must_use]
pub fn ramp(count: usize) -> Vec<Ink> {
    let last = RAMP.len() - 1;
    (0..count).map(|i| if count < 2 { BLUE } else { RAMP[(i * last / (count - 1)).min(last)] }).collect()
}

/// All colours.
fn inks() -> impl Iterator<Item = Ink> {
    [PAPER, TEXT, MUTED, GRID, FAINT, BLUE, ORANGE, RED, GREY].into_iter().chain(RAMP)
}

/// Rules of CSS for the dark, for elements within what `scope` selects. On paper it is never dark.
#[must_use]
pub fn dark_rules(scope: &str) -> String {
    let mut css = "@media screen and (prefers-color-scheme: dark) {\n".to_owned();
    for Ink { light, dark } in inks() {
        for property in ["fill", "stroke"] {
            let _ = writeln!(css, "{scope} [{property}=\"#{light:06X}\"] {{ {property}: #{dark:06X} }}");
        }
    }
    css + "}\n"
}

/// The font, in pixels from line to line.
fn font(size: i32) -> FontDesc<'static> {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    // Cannot fail: the bytes are constant, and tests draw with them.
    REGISTERED.get_or_init(|| drop(register_font(FAMILY, FontStyle::Normal, dejavu::sans::regular())));
    FontDesc::new(FontFamily::Name(FAMILY), f64::from(size * UNIT), FontStyle::Normal)
}

/// How wide a text is.
#[must_use]
pub fn width(text: &str, size: i32) -> i32 {
    let fallback = text.chars().count() as i32 * size * UNIT * 2 / 3;
    font(size).layout_box(text).map_or(fallback, |((left, _), (right, _))| right - left)
}

/// A text in lines of at most a width, broken between words, else after hyphens, else anywhere.
#[must_use]
pub fn wrapped(text: &str, size: i32, most: i32) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    let fits = |line: &str, more: &str| line.is_empty() || width(&format!("{line}{more}"), size) <= most;
    for word in text.split_inclusive([' ', '-']) {
        if !fits(&line, word.trim_end()) {
            lines.push(std::mem::take(&mut line));
        }
        for letter in word.chars() {
            if letter != ' ' && !fits(&line, letter.encode_utf8(&mut [0; 4])) {
                lines.push(std::mem::take(&mut line));
            }
            line.push(letter);
        }
    }
    lines.push(line);
    lines.into_iter().map(|line| line.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As WCAG 2 defines it.
    fn contrast(a: u32, b: u32) -> f64 {
        let luminance = |c: u32| {
            let [_, r, g, b] = c.to_be_bytes().map(|v| {
                let v = f64::from(v) / 255.0;
                if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
            });
            0.2126 * r + 0.7152 * g + 0.0722 * b
        };
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        (a / b).max(b / a)
    }

    #[test]
    fn colours_are_seen_in_the_light_and_in_the_dark() {
        for ink in inks().filter(|i| ![PAPER, GRID, FAINT].contains(i)) {
            let least = if [TEXT, MUTED].contains(&ink) { 4.5 } else { 3.0 };
            let seen = [contrast(ink.light, PAPER.light), contrast(ink.dark, PAPER.dark)];
            assert!(seen.iter().all(|c| *c >= least), "{ink:06X?}: {seen:?}");
        }
    }

    #[test]
    fn each_colour_has_a_rule_of_its_own() {
        let mut lights: Vec<u32> = inks().map(|i| i.light).collect();
        lights.sort_unstable();
        assert!(lights.windows(2).all(|w| w[0] != w[1]));
        let css = dark_rules(".plot");
        assert!(css.contains(".plot [fill=\"#FFFFFF\"] { fill: #15181E }"), "{css}");
        assert_eq!(css.lines().filter(|l| l.starts_with(".plot [")).count(), 2 * lights.len());
    }

    #[test]
    fn a_family_of_lines_has_distinct_colours_from_end_to_end() {
        for count in 2..=12 {
            let inks = ramp(count);
            assert_eq!((inks[0], inks[count - 1]), (RAMP[0], RAMP[11]));
            assert!(inks.windows(2).all(|w| w[0] != w[1]), "{count}");
        }
        assert_eq!(ramp(1), [BLUE]);
        assert!(ramp(0).is_empty());
    }

    #[test]
    fn the_font_is_in_the_program() {
        assert!(width("iiii", 12) < width("MMMM", 12));
        assert!((30 * UNIT..60 * UNIT).contains(&width("latency", 12)), "{}", width("latency", 12));
    }

    #[test]
    fn texts_are_broken_where_they_may_be() {
        assert_eq!(wrapped("short", 12, 1000), ["short"]);
        let most = width("alpha beta-", 12);
        assert_eq!(wrapped("alpha beta-gamma", 12, most), ["alpha beta-", "gamma"]);
        let lines = wrapped(&"m".repeat(50), 12, most);
        assert!(lines.len() > 3 && lines.iter().all(|l| width(l, 12) <= most), "{lines:?}");
        assert_eq!(wrapped("", 12, 10), [""]);
    }
}
