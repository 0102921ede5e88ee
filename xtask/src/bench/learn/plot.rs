//! Pictures of the runs: loss over tokens, as SVG.

use std::fmt::Write;

use super::report::Outcome;

/// Size of a picture, and what stays free for words.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 40.0;
/// Okabe and Ito's colours, which most people can tell apart.
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#7f7f7f"];

/// One run's curve.
pub(crate) fn curve(outcome: &Outcome) -> String {
    draw(&outcome.name(), &[(outcome.name(), &outcome.curve)])
}

/// The first seed's curve of every arm.
pub(crate) fn all(outcomes: &[Outcome]) -> String {
    let mut lines: Vec<(String, &Vec<(f64, f64)>)> = Vec::new();
    for outcome in outcomes {
        let label = match outcome.arm.replicas {
            0 => outcome.arm.name.to_owned(),
            replicas => format!("{} × {replicas}", outcome.arm.name),
        };
        if !lines.iter().any(|(known, _)| *known == label) {
            lines.push((label, &outcome.curve));
        }
    }
    draw("Held-out loss over tokens", &lines)
}

fn draw(title: &str, lines: &[(String, &Vec<(f64, f64)>)]) -> String {
    let points = || lines.iter().flat_map(|(_, curve)| curve.iter());
    let (low, high) =
        points().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (_, loss)| (low.min(*loss), high.max(*loss)));
    let most = points().map(|(tokens, _)| *tokens).fold(1.0, f64::max);
    let (low, high) = if low < high { (low, high) } else { (0.0, 1.0) };
    let x = |tokens: f64| LEFT + tokens / most * (WIDTH - LEFT - RIGHT);
    let y = |loss: f64| TOP + (high - loss) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"11\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\
         <text x=\"{LEFT}\" y=\"16\" font-size=\"13\">{title}</text>"
    );
    for step in 0..=4 {
        let loss = low + (high - low) * f64::from(step) / 4.0;
        let tokens = most * f64::from(step) / 4.0;
        let (across, down, right, bottom) = (x(tokens), y(loss), WIDTH - RIGHT, HEIGHT - BOTTOM);
        // A String takes whatever is written.
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {down:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">\
             {loss:.2}</text><text x=\"{across:.1}\" y=\"{}\" text-anchor=\"middle\">{:.2}M</text>",
            LEFT - 6.0,
            down + 4.0,
            bottom + 16.0,
            tokens / 1e6,
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">tokens</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 8.0
    );
    for (index, (label, curve)) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        // The second time round the colours the line is dashed.
        let dash = if index < COLOURS.len() { "" } else { " stroke-dasharray=\"5 3\"" };
        let path: Vec<String> = curve.iter().map(|(t, loss)| format!("{:.1},{:.1}", x(*t), y(*loss))).collect();
        let row = TOP + 8.0 + 15.0 * index as f64;
        let _ = write!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"{dash}/>\
             <path d=\"M{} {row}h18\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/><text x=\"{}\" y=\"{}\">{label}</text>",
            path.join(" "),
            WIDTH - RIGHT + 12.0,
            WIDTH - RIGHT + 36.0,
            row + 4.0,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_line_for_each_curve_within_its_frame() {
        let (a, b) = (vec![(1e5, 4.0), (2e5, 3.0)], vec![(1e5, 5.0), (2e5, 2.0)]);
        let svg = draw("T", &[("a".to_owned(), &a), ("b".to_owned(), &b)]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains(&format!("{:.1},{:.1}", WIDTH - RIGHT, HEIGHT - BOTTOM)));
        assert!(draw("T", &[]).ends_with("</svg>\n"));
    }
}
