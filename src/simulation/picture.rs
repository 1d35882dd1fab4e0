//! What the simulated camera sees: a ring of coloured pillars around the origin, the robot's id, its heading and the time.

use std::convert::Infallible;

use embedded_graphics::{
    mono_font::{MonoTextStyle, ascii::FONT_6X10},
    pixelcolor::Rgb888,
    prelude::*,
    primitives::{PrimitiveStyle, Rectangle},
    text::Text,
};
use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};

use super::motion::{Pose, wrapped};
use crate::time::Mono;

/// Width of the picture [pixels].
pub const WIDTH: u32 = 160;
/// Height of the picture [pixels].
pub const HEIGHT: u32 = 120;
/// Horizontal field of view [rad]: that of a common webcam.
const FIELD_OF_VIEW: f64 = 1.05;
/// The pillars: how many, how far from the origin [m], how high and how thick [m].
const PILLARS: u32 = 15;
const RING: f64 = 6.0;
const PILLAR_HEIGHT: f64 = 1.6;
const PILLAR_RADIUS: f64 = 0.25;
/// Height of the camera over the floor [m].
const CAMERA_HEIGHT: f64 = 0.5;
/// Nearer things are not drawn [m].
const NEAR: f64 = 0.3;
const JPEG_QUALITY: u8 = 80;

/// Why a picture could not be encoded.
#[derive(Debug, thiserror::Error)]
#[error("the picture cannot be encoded as JPEG: {0}")]
pub struct JpegError(#[from] image::ImageError);

/// An RGB picture of [`WIDTH`] × [`HEIGHT`] pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Red, green and blue of each pixel, row by row from the top left.
    pixels: Vec<u8>,
}

impl Picture {
    /// What robot `id` sees from `pose`, `now` after it started.
    pub fn view(id: &str, pose: Pose, now: Mono) -> Picture {
        let mut picture = Picture { pixels: vec![0; (WIDTH * HEIGHT * 3) as usize] };
        picture.draw_background();
        picture.draw_pillars(pose);
        picture.draw_words(id, pose, now);
        picture
    }

    /// The picture as JPEG (JFIF).
    ///
    /// # Errors
    /// If the encoder fails, which it has no reason to.
    pub fn to_jpeg(&self) -> Result<Vec<u8>, JpegError> {
        let mut jpeg = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY);
        encoder.encode(&self.pixels, WIDTH, HEIGHT, ExtendedColorType::Rgb8)?;
        Ok(jpeg)
    }

    fn draw_background(&mut self) {
        let horizon = HEIGHT / 2;
        for row in 0..HEIGHT {
            // The sky gets lighter towards the horizon, the floor darker.
            let depth = (row.abs_diff(horizon) * 255 / horizon).min(255) as u8;
            let colour = if row < horizon {
                Rgb888::new(205 - depth / 3, 225 - depth / 4, 250)
            } else {
                Rgb888::new(70 + depth / 4, 80 + depth / 4, 75 + depth / 4)
            };
            self.fill(0, row as i32, WIDTH, 1, colour);
        }
    }

    fn draw_pillars(&mut self, pose: Pose) {
        let pixels_per_tangent = f64::from(WIDTH) / 2.0 / (FIELD_OF_VIEW / 2.0).tan();
        let mut seen: Vec<(f64, f64, u32)> = (0..PILLARS)
            .map(|number| {
                let angle = f64::from(number) * std::f64::consts::TAU / f64::from(PILLARS);
                let pillar = Pose { x: RING * angle.cos(), y: RING * angle.sin(), yaw: 0.0 };
                let (dx, dy) = (pillar.x - pose.x, pillar.y - pose.y);
                let bearing = wrapped(dy.atan2(dx) - pose.yaw);
                (dx.hypot(dy) * bearing.cos(), bearing, number)
            })
            .filter(|&(depth, _, _)| depth > NEAR)
            .collect();
        // The farthest first, so that nearer ones hide them.
        seen.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (depth, bearing, number) in seen {
            let scale = pixels_per_tangent / depth;
            // A bearing to the left is positive, columns count to the right.
            let column = f64::from(WIDTH) / 2.0 - pixels_per_tangent * bearing.tan();
            let top = f64::from(HEIGHT) / 2.0 - (PILLAR_HEIGHT - CAMERA_HEIGHT) * scale;
            let (width, height) = ((2.0 * PILLAR_RADIUS * scale).max(1.0), (PILLAR_HEIGHT * scale).max(1.0));
            let left = column - width / 2.0;
            if left + width > 0.0 && left < f64::from(WIDTH) {
                self.fill(left as i32, top as i32, width as u32, height as u32, colour_of(number));
            }
        }
    }

    fn draw_words(&mut self, id: &str, pose: Pose, now: Mono) {
        let white = MonoTextStyle::new(&FONT_6X10, Rgb888::WHITE);
        // As many characters as fit beside nothing else in the line.
        let id: String = id.chars().take((WIDTH / 6) as usize - 1).collect();
        let heading = pose.yaw.to_degrees().round() as i32;
        let below = format!("{heading:4} deg {:8.1} s", now.0.as_secs_f64());
        for (line, words) in [(0, id), (HEIGHT as i32 - 12, below)] {
            self.fill(0, line, WIDTH, 12, Rgb888::new(20, 20, 30));
            let Ok(_) = Text::new(&words, Point::new(3, line + 8), white).draw(self);
        }
    }

    fn fill(&mut self, left: i32, top: i32, width: u32, height: u32, colour: Rgb888) {
        let rectangle = Rectangle::new(Point::new(left, top), Size::new(width, height));
        let Ok(()) = rectangle.into_styled(PrimitiveStyle::with_fill(colour)).draw(self);
    }
}

fn colour_of(pillar: u32) -> Rgb888 {
    const COLOURS: [Rgb888; 5] = [
        Rgb888::new(214, 69, 65),
        Rgb888::new(46, 134, 193),
        Rgb888::new(241, 196, 15),
        Rgb888::new(39, 174, 96),
        Rgb888::new(142, 68, 173),
    ];
    COLOURS[pillar as usize % COLOURS.len()]
}

impl OriginDimensions for Picture {
    fn size(&self) -> Size {
        Size::new(WIDTH, HEIGHT)
    }
}

impl DrawTarget for Picture {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(Point { x, y }, colour) in pixels {
            let inside = (0..WIDTH as i32).contains(&x) && (0..HEIGHT as i32).contains(&y);
            if inside {
                let at = (y as usize * WIDTH as usize + x as usize) * 3;
                self.pixels[at..at + 3].copy_from_slice(&[colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn differing(a: &Picture, b: &Picture) -> usize {
        a.pixels.chunks(3).zip(b.pixels.chunks(3)).filter(|(a, b)| a != b).count()
    }

    #[test]
    fn the_jpeg_decodes_to_the_picture() {
        let picture = Picture::view("r1", Pose::default(), Mono::default());
        let jpeg = picture.to_jpeg().unwrap();
        assert!(jpeg.len() < 16 * 1024, "{} bytes", jpeg.len());
        let decoded = image::load_from_memory_with_format(&jpeg, image::ImageFormat::Jpeg).unwrap().to_rgb8();
        assert_eq!((decoded.width(), decoded.height()), (WIDTH, HEIGHT));
        let error: u64 = decoded.as_raw().iter().zip(&picture.pixels).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = error as f64 / picture.pixels.len() as f64;
        assert!(mean < 8.0, "JPEG differs by {mean} on average");
    }

    #[test]
    fn what_is_seen_moves_when_the_robot_turns_drives_or_waits() {
        let here = Picture::view("r1", Pose::default(), Mono::default());
        let turned = Picture::view("r1", Pose { yaw: 0.2, ..Pose::default() }, Mono::default());
        let ahead = Picture::view("r1", Pose { x: 2.0, ..Pose::default() }, Mono::default());
        let later = Picture::view("r1", Pose::default(), Mono(Duration::from_secs(3)));
        assert!(differing(&here, &turned) > 500, "{}", differing(&here, &turned));
        assert!(differing(&here, &ahead) > 500, "{}", differing(&here, &ahead));
        assert!((1..500).contains(&differing(&here, &later)), "{}", differing(&here, &later));
    }

    #[test]
    fn a_pillar_straight_ahead_is_in_the_middle_and_one_to_the_left_is_left() {
        let red = colour_of(0);
        let column_of_red = |yaw: f64| {
            let picture = Picture::view("r1", Pose { yaw, ..Pose::default() }, Mono::default());
            let row = HEIGHT as usize / 2;
            let columns: Vec<usize> = (0..WIDTH as usize)
                .filter(|column| {
                    let at = (row * WIDTH as usize + column) * 3;
                    picture.pixels[at..at + 3] == [red.r(), red.g(), red.b()]
                })
                .collect();
            (!columns.is_empty()).then(|| columns.iter().sum::<usize>() / columns.len())
        };
        assert!(column_of_red(0.0).unwrap().abs_diff(WIDTH as usize / 2) <= 1, "{:?}", column_of_red(0.0));
        // Looking to the right, what was ahead is to the left.
        assert!(column_of_red(-0.2).unwrap() < WIDTH as usize / 2 - 10);
        assert!(column_of_red(0.2).unwrap() > WIDTH as usize / 2 + 10);
    }

    #[test]
    fn robots_can_be_told_apart_and_long_ids_are_cut() {
        let picture = |id: &str| Picture::view(id, Pose::default(), Mono::default());
        assert!(differing(&picture("r1"), &picture("r2")) > 3);
        assert!(!picture(&"x".repeat(64)).to_jpeg().unwrap().is_empty());
    }
}
