# Where Headwater listens.
backend origin {
    .host = "127.0.0.1";
    .port = "4437";
    .probe = health;
}
