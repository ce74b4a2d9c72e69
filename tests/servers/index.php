<?php // Says who answers; ?slow takes half a second.
if (isset($_GET['slow'])) usleep(500000);
echo "generation ", getenv('GENERATION'), ", pid ", getmypid(), "\n";
