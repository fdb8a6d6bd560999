<?php
// SPDX-License-Identifier: Apache-2.0
// Makes the HTTP requests that it reads as JSON lines from standard input, each on a connection of its own.
while ($line = fgets(STDIN)) {
    $r = json_decode($line);
    $http = ["method" => $r->method, "content" => $r->body, "protocol_version" => 1.1, "header" => "Connection: close", "ignore_errors" => true];
    if (file_get_contents($r->url, false, stream_context_create(["http" => $http])) === false) {
        exit(1);
    }
}
