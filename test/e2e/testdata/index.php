<?php // The status comes from ?code=, the size of the body from ?size=.
http_response_code((int) $_GET['code']);
echo str_repeat('x', (int) $_GET['size']);
