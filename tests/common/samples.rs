//! Files of the three kinds that the original system was shown with, and bytes of any length.

use std::io::Read;

use pdf_writer::{Content, Finish, Name, Pdf, Rect, Ref};

/// Incompressible bytes, the same for the same seed.
pub fn bytes(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().read_exact(&mut bytes).unwrap();
    bytes
}

/// A small text.
pub fn text() -> Vec<u8> {
    "Hello Bob,\nthis came over a swarm.\n".repeat(8).into_bytes()
}

/// A photograph-like JPEG of about 16 KB.
pub fn jpeg() -> Vec<u8> {
    let (width, height) = (320_u16, 240_u16);
    let noise = bytes("jpeg", usize::from(width) * usize::from(height));
    let pixels: Vec<u8> = (0..usize::from(width) * usize::from(height))
        .flat_map(|i| {
            let (x, y) = (i % usize::from(width), i / usize::from(width));
            let grain = usize::from(noise[i] % 24);
            [x * 200 / 320 + grain, y * 200 / 240 + grain, 120 + grain]
                .map(|v| u8::try_from(v.min(255)).unwrap())
        })
        .collect();
    let mut file = Vec::new();
    jpeg_encoder::Encoder::new(&mut file, 80)
        .encode(&pixels, width, height, jpeg_encoder::ColorType::Rgb)
        .unwrap();
    assert!((12_000..20_000).contains(&file.len()), "{}", file.len());
    file
}

/// A page with a large uncompressed picture: a PDF of about 5.4 MB.
pub fn pdf() -> Vec<u8> {
    let side = 1341;
    let pixels = bytes("pdf", side * side * 3);
    let (catalog, pages, page, image, content) =
        (Ref::new(1), Ref::new(2), Ref::new(3), Ref::new(4), Ref::new(5));
    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(pages);
    pdf.pages(pages).kids([page]).count(1);
    let mut leaf = pdf.page(page);
    leaf.parent(pages).media_box(Rect::new(0.0, 0.0, 595.0, 842.0)).contents(content);
    leaf.resources().x_objects().pair(Name(b"Im1"), image);
    leaf.finish();
    let mut picture = pdf.image_xobject(image, &pixels);
    picture.width(1341).height(1341).bits_per_component(8);
    picture.color_space().device_rgb();
    picture.finish();
    let mut drawing = Content::new();
    drawing.transform([595.0, 0.0, 0.0, 595.0, 0.0, 120.0]).x_object(Name(b"Im1"));
    pdf.stream(content, &drawing.finish());
    let file = pdf.finish();
    assert!((5_300_000..5_500_000).contains(&file.len()), "{}", file.len());
    file
}
