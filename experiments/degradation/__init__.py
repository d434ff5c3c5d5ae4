"""Question: what is left of a score after JPEG, blur, resizing, noise and an attack?"""
