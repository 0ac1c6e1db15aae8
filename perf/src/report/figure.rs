//! What is in a plot, before it is drawn.

use super::axis::Axis;
use super::theme::Ink;

/// A plot with its words.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The name of its file, without an ending, and its id in a page.
    pub stem: String,
    /// Above it.
    pub title: String,
    /// How to read it.
    pub caption: String,
    /// What is drawn.
    pub body: Body,
}

/// What is drawn.
#[derive(Clone, Debug)]
pub enum Body {
    /// Lines and points, one panel below another.
    Panels(Vec<Panel>),
    /// Bars.
    Bars(Bars),
}

/// Two axes and what is between them.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Across.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// What is measured.
    pub series: Vec<Series>,
    /// What it is to be seen against.
    pub guides: Vec<Guide>,
}

/// Points of one kind.
#[derive(Clone, Debug)]
pub struct Series {
    /// In the legend.
    pub label: String,
    /// Its colour.
    pub ink: Ink,
    /// Whether neighbours are joined.
    pub line: bool,
    /// What is at each point.
    pub marker: Option<Marker>,
    /// The points.
    pub dots: Vec<Dot>,
}

/// What is at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Filled.
    Circle,
    /// Filled.
    Triangle,
    /// Filled.
    Square,
    /// Two strokes.
    Cross,
}

/// A point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dot {
    /// Across.
    pub x: f64,
    /// Upwards.
    pub y: f64,
    /// How far `y` may be off.
    pub range: Option<[f64; 2]>,
    /// Operations got lost or could not be sent.
    pub lossy: bool,
}

/// A dashed line.
#[derive(Clone, Debug)]
pub struct Guide {
    /// In the legend.
    pub label: String,
    /// Its colour.
    pub ink: Ink,
    /// From one point to another.
    pub ends: [(f64, f64); 2],
}

/// Horizontal bars.
#[derive(Clone, Debug)]
pub struct Bars {
    /// What their lengths count.
    pub axis: Axis,
    /// Where they begin: at a value.
    pub from: f64,
    /// From above.
    pub rows: Vec<Row>,
    /// What colours mean.
    pub legend: Vec<(Ink, String)>,
}

/// A row of bars.
#[derive(Clone, Debug)]
pub enum Row {
    /// What the rows below have in common.
    Head(String),
    /// A label, and its bars.
    Of(String, Vec<Bar>),
}

/// A bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Where it ends.
    pub to: f64,
    /// How far that may be off.
    pub range: Option<[f64; 2]>,
    /// Its colour.
    pub ink: Ink,
    /// The value in words.
    pub text: String,
}

impl Series {
    /// With a line through markers. What is no number is left out.
    #[must_use]
    pub fn line(label: &str, ink: Ink, marker: Option<Marker>, dots: impl Iterator<Item = Dot>) -> Self {
        let dots = dots.filter(|d| d.x.is_finite() && d.y.is_finite()).collect();
        Self { label: label.to_owned(), ink, line: true, marker, dots }
    }

    /// Points only.
    #[must_use]
    pub fn points(label: &str, ink: Ink, marker: Marker, dots: impl Iterator<Item = Dot>) -> Self {
        Self { line: false, ..Self::line(label, ink, Some(marker), dots) }
    }
}

impl Panel {
    /// A panel of the series that have points, if there are any and both axes.
    #[must_use]
    pub fn of(x: Option<Axis>, y: Option<Axis>, series: Vec<Series>) -> Option<Self> {
        let series: Vec<Series> = series.into_iter().filter(|s| !s.dots.is_empty()).collect();
        (!series.is_empty()).then_some(Self { x: x?, y: y?, series, guides: vec![] })
    }
}

/// All values of `y` and of their ranges, for an axis.
pub fn extents(series: &[Series]) -> impl Iterator<Item = f64> {
    series.iter().flat_map(|s| &s.dots).flat_map(|d| [d.y].into_iter().chain(d.range.into_iter().flatten()))
}
