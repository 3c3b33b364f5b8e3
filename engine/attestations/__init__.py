"""What is stated about an image: in-toto statements, how they are attached, how they are found."""
