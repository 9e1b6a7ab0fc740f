//! Tests of thumbnails, of valid and of malicious images.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use omnistack_core::crypto::Sha256;
use omnistack_storage::{Files, Thumbnail};
use omnistack_testkit::{TestClient, TestDatabase, TestResponse, on_each_database};
use serde_json::json;

use super::{FILES, id, upload, with};

fn files() -> Files {
    Files::from_env().thumbnail(Thumbnail::new("small", 100, 50)).thumbnail(Thumbnail::new("wide", 2000, 20))
}

fn write(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

/// Returns an image that is red above and blue below.
fn picture(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |_, y| if y < height / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) }).into()
}

fn glass(width: u32, height: u32) -> DynamicImage {
    RgbaImage::from_pixel(width, height, Rgba([0, 255, 0, 128])).into()
}

async fn thumbnail(client: &TestClient, file: &str, query: &str) -> TestResponse {
    client.get(format!("{FILES}/{file}/thumbnail{query}")).await
}

fn read(answer: &TestResponse) -> DynamicImage {
    image::load_from_memory(&answer.body).unwrap()
}

/// Returns a PNG whose first chunk claims these dimensions, followed by `rest`.
fn png(width: u32, height: u32, rest: &[u8]) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend_from_slice(&width.to_be_bytes());
    header.extend_from_slice(&height.to_be_bytes());
    header.extend_from_slice(&[8, 6, 0, 0, 0]);
    let sum = header.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 })
    });
    [b"\x89PNG\r\n\x1a\n\0\0\0\x0d".as_slice(), &header, &(!sum).to_be_bytes(), rest].concat()
}

on_each_database! {
    async fn of_each_kind_in_each_size(database: TestDatabase) {
        let shop = with(database, files(), &[("CORS_ORIGINS", "https://app.example.com")], None).await;
        let alice = shop.app.user();
        for (format, kind) in [
            (ImageFormat::Png, "png"), (ImageFormat::Jpeg, "jpeg"), (ImageFormat::Gif, "gif"), (ImageFormat::WebP, "webp"),
        ] {
            let (name, content_type) = (format!("a.{kind}"), format!("image/{kind}"));
            let bytes = write(&picture(400, 100), format);
            let file = id(&upload(&alice, &name, &content_type, bytes).await.expect(201).json());
            let before = shop.objects().await;
            let small = thumbnail(&alice, &file, "").await.expect_ok();
            let made = if kind == "gif" { "image/png" } else { "image/jpeg" };
            assert_eq!(small.header("content-type"), Some(made), "{kind}");
            assert_eq!(small.header("x-content-type-options"), Some("nosniff"));
            let image = read(&small).to_rgb8();
            assert_eq!(image.dimensions(), (100, 25), "{kind}");
            let (top, bottom) = (image.get_pixel(50, 4), image.get_pixel(50, 20));
            assert!(top.0[0] > 200 && top.0[2] < 60 && bottom.0[2] > 200 && bottom.0[0] < 60, "{kind} {top:?} {bottom:?}");
            // The thumbnail is stored and not created again.
            assert_eq!(shop.objects().await, before + 1);
            let again = thumbnail(&alice, &file, "?size=small").await.expect_ok();
            assert_eq!((&again.body, shop.objects().await), (&small.body, before + 1));
            let wide = thumbnail(&alice, &file, "?size=wide").await.expect_ok();
            assert_eq!(read(&wide).to_rgb8().dimensions(), (80, 20));
            let known = alice.get(format!("{FILES}/{file}/thumbnail")).header("if-none-match", small.header("etag").unwrap());
            let known = known.header("referer", "https://app.example.com/").await.expect(304);
            assert_eq!(known.header("cache-control"), small.header("cache-control"));
            let policies = [&small, &known].map(|answer| answer.header("cross-origin-resource-policy"));
            assert_eq!(policies, [Some("same-origin"), Some("same-site")]);
        }
        // Transparency is kept, and nothing is enlarged.
        let file = id(&upload(&alice, "g.png", "image/png", write(&glass(10, 10), ImageFormat::Png)).await.expect(201).json());
        let glass = thumbnail(&alice, &file, "").await.expect_ok();
        assert_eq!(glass.header("content-type"), Some("image/png"));
        assert_eq!((read(&glass).width(), read(&glass).to_rgba8().get_pixel(5, 5).0[3]), (10, 128));
        assert_eq!(shop.counted.of("file_downloads"), 0);
    }

    async fn whose_they_are_and_how_long(database: TestDatabase) {
        let shop = with(database, files(), &[], None).await;
        let (alice, bob) = (shop.app.user(), shop.app.user());
        let file = id(&upload(&alice, "a.png", "image/png", write(&picture(40, 40), ImageFormat::Png)).await.expect(201).json());
        let path = format!("{FILES}/{file}");
        thumbnail(&alice, &file, "").await.expect_ok();
        thumbnail(&alice, &file, "?size=wide").await.expect_ok();
        thumbnail(&bob, &file, "").await.expect(404);
        shop.app.anonymous().get(format!("{path}/thumbnail")).await.expect(401);
        for odd in ["?size=", "?size=none", "?size=..%2F..%2Fx", "?width=1"] {
            thumbnail(&alice, &file, odd).await.expect(422);
        }
        let text = id(&upload(&alice, "a.txt", "text/plain", "a").await.expect(201).json());
        thumbnail(&alice, &text, "").await.expect_error(422, "NO_THUMBNAIL");
        let svg = id(&upload(&alice, "a.svg", "image/svg+xml", "<svg></svg>").await.expect(201).json());
        thumbnail(&alice, &svg, "").await.expect_error(422, "NO_THUMBNAIL");
        alice.delete(&path).await.expect(204);
        thumbnail(&alice, &file, "").await.expect(404);
        alice.post(format!("{path}/restore"), ()).await.expect_ok();
        thumbnail(&alice, &file, "").await.expect_ok();
        assert_eq!(shop.objects().await, 5);
        alice.delete(&path).await.expect(204);
        shop.app.clock().advance(std::time::Duration::from_secs(31 * 24 * 60 * 60));
        assert_eq!((shop.sweep().await, shop.objects().await), (1, 2), "with its thumbnails");
    }

    async fn bombs_and_broken_ones(database: TestDatabase) {
        let shop = with(database, files(), &[("FILES_THUMBNAIL_PIXELS", "1000000")], None).await;
        let alice = shop.app.user();
        let whole = write(&picture(200, 200), ImageFormat::Png);
        let cut = &whole[..whole.len() / 2];
        let mut flipped = whole.clone();
        for byte in &mut flipped[50..70] {
            *byte ^= 0xff;
        }
        let gif = |width: u16, height: u16| {
            let (width, height) = (width.to_le_bytes(), height.to_le_bytes());
            [b"GIF89a".as_slice(), &width, &height, b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0", &width, &height, b"\0\x02\x02D\x01\0;"].concat()
        };
        let mut jpeg = write(&picture(20, 20), ImageFormat::Jpeg);
        let frame = jpeg.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 9].fill(0xff);
        let mut webp = write(&picture(20, 20), ImageFormat::WebP);
        let lossless = webp.windows(4).position(|four| four == b"VP8L").unwrap();
        webp[lossless + 9..lossless + 12].copy_from_slice(&[0xfe, 0xff, 0xff]);
        for (what, content_type, bytes, code) in [
            ("65,535 pixels each way", "image/png", png(65_535, 65_535, &whole[33..]), "IMAGE_TOO_LARGE"),
            ("as many as there are", "image/png", png(u32::MAX >> 1, u32::MAX >> 1, &whole[33..]), "IMAGE_TOO_LARGE"),
            ("one more than allowed", "image/png", png(1_000_001, 1, &whole[33..]), "IMAGE_TOO_LARGE"),
            ("a GIF", "image/gif", gif(65_535, 65_535), "IMAGE_TOO_LARGE"),
            ("a JPEG", "image/jpeg", jpeg, "IMAGE_TOO_LARGE"),
            ("a WebP", "image/webp", webp, "IMAGE_TOO_LARGE"),
            ("nothing behind the header", "image/png", png(100, 100, b""), "IMAGE_INVALID"),
            ("no pixels", "image/png", png(0, 0, &whole[33..]), "IMAGE_INVALID"),
            ("cut off", "image/png", cut.to_vec(), "IMAGE_INVALID"),
            ("changed", "image/png", flipped, "IMAGE_INVALID"),
            ("the first bytes alone", "image/jpeg", b"\xff\xd8\xff\xe0".to_vec(), "IMAGE_INVALID"),
            ("a WebP's first bytes alone", "image/webp", b"RIFF\xff\xff\xff\xffWEBPVP8 ".to_vec(), "IMAGE_INVALID"),
        ] {
            let file = id(&upload(&alice, "a", content_type, bytes).await.expect(201).json());
            let before = shop.objects().await;
            let answer = thumbnail(&alice, &file, "").await.expect(422);
            assert_eq!(answer.json()["error"]["code"], code, "{what}");
            assert_eq!(shop.objects().await, before, "{what}");
        }
        // A file over the limit is not read.
        let shop = with(TestDatabase::sqlite(), files(), &[("FILES_THUMBNAIL_MAX_SIZE", "100B")], None).await;
        let alice = shop.app.user();
        let file = id(&upload(&alice, "a.png", "image/png", whole).await.expect(201).json());
        thumbnail(&alice, &file, "").await.expect_error(422, "IMAGE_TOO_LARGE");
    }

    async fn of_archived_ones(database: TestDatabase) {
        let shop = with(database, files(), &[], None).await;
        let (alice, admin) = (shop.app.user(), shop.app.operator());
        let bytes = write(&picture(200, 200), ImageFormat::Png);
        let hash = Sha256::digest(&bytes).to_string();
        let file = upload(&alice, "a.png", "image/png", bytes).await.expect(201).json();
        assert_eq!(file["sha256"], hash);
        thumbnail(&alice, &id(&file), "").await.expect_ok();
        admin.post("/api/v1/admin/archival/archive", json!({ "file_id": id(&file) })).await.expect_ok();
        thumbnail(&alice, &id(&file), "").await.expect_ok();
        thumbnail(&alice, &id(&file), "?size=wide").await.expect_error(409, "FILE_ARCHIVED");
    }
}

/// Concurrent requests wait for each other, and all get their thumbnails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once() {
    let settings = [("FILES_THUMBNAILS_AT_ONCE", "1")];
    let shop = with(TestDatabase::sqlite(), files(), &settings, None).await;
    let alice = shop.app.user();
    let mut ids = Vec::new();
    for _ in 0..6 {
        let bytes = write(&picture(300, 300), ImageFormat::Png);
        ids.push(id(&upload(&alice, "a.png", "image/png", bytes).await.expect(201).json()));
    }
    let all = ids.iter().map(|file| thumbnail(&alice, file, ""));
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(read(&answer.expect_ok()).width(), 50);
    }
}

#[tokio::test]
async fn invalid_sizes_are_build_problems() {
    let files = Files::from_env()
        .thumbnail(Thumbnail::new("A", 1, 1))
        .thumbnail(Thumbnail::new("b", 0, 1))
        .thumbnail(Thumbnail::new("c", 1, 4097))
        .thumbnail(Thumbnail::new("d", 1, 1))
        .thumbnail(Thumbnail::new("d", 2, 2));
    let app = omnistack_core::app::App::builder(TestDatabase::sqlite().config())
        .with(omnistack_core::app::DevIdentity::default())
        .with(files);
    let problems = app.build().unwrap_err().to_string();
    for named in ["`A`", "`b`", "`c`", "`d`"] {
        assert!(problems.contains(&format!("the thumbnail {named}")), "{problems}");
    }
}
