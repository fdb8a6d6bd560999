<?php // SPDX-License-Identifier: Apache-2.0
// The relay of PHP-FPM: UPSTREAM is in the environment.
echo file_get_contents('http://' . getenv('UPSTREAM') . strtok($_SERVER['REQUEST_URI'], '?'));
