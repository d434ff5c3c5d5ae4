"""One run over tars: images in, maps out, progress reported."""
